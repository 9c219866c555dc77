// Sends a form that does a part of something, and the form that the answer has, until an answer has none.
"use strict";

const place = document.querySelector("#bulk");
const broken = document.querySelector("#bulk-broken");
let going = false;
let stopped = false;

const go = async (form) => {
  const buttons = form.querySelectorAll("button");
  const body = new FormData(form);
  going = true;
  broken.hidden = true;
  buttons.forEach((button) => (button.disabled = true));
  try {
    const response = await fetch(form.action, { method: "POST", body, headers: { "X-Requested-With": "XMLHttpRequest" } });
    if (!response.ok || response.redirected) {
      throw new Error(String(response.status));
    }
    place.innerHTML = await response.text();
    const next = place.querySelector("form[data-steps]");
    if (next && !stopped) {
      return go(next);
    }
    place.querySelectorAll("[data-stop]").forEach((link) => (link.textContent = "Back to the list"));
  } catch {
    // What was done is done; the button goes on where it stopped.
    broken.hidden = false;
    buttons.forEach((button) => (button.disabled = false));
  }
  going = false;
};

place.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-steps]")) {
    event.preventDefault();
    stopped = false;
    go(event.target);
  }
});

place.addEventListener("click", (event) => {
  if (going && event.target.matches("[data-stop]")) {
    event.preventDefault();
    stopped = true;
    event.target.textContent = "Stopping…";
  }
});

window.addEventListener("beforeunload", (event) => {
  if (going) {
    event.preventDefault();
  }
});
