// Sends a form that does a part of something, and the form that the answer has, until an answer has none.
"use strict";

const place = document.querySelector("#bulk");

const go = async (form) => {
  const buttons = form.querySelectorAll("button");
  const body = new FormData(form);
  buttons.forEach((button) => (button.disabled = true));
  try {
    const response = await fetch(form.action, { method: "POST", body, headers: { "X-Requested-With": "XMLHttpRequest" } });
    if (!response.ok || response.redirected) {
      throw new Error(String(response.status));
    }
    place.innerHTML = await response.text();
    const next = place.querySelector("form[data-steps]");
    if (next) {
      go(next);
    }
  } catch {
    // What was done is done; the button goes on where it stopped.
    buttons.forEach((button) => (button.disabled = false));
  }
};

place.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-steps]")) {
    event.preventDefault();
    go(event.target);
  }
});
