// Makes an earlier version the latest again.

import { csrfToken, signInAgain } from "../signed_in.js";

for (const form of document.querySelectorAll(".desk-restore")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { save, basedOn, restore } = form.dataset;
    const response = await fetch(save, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": csrfToken(),
      },
      body: JSON.stringify({ based_on: Number(basedOn), restore: Number(restore) }),
    }).catch(() => null);
    if (response?.ok) {
      location.search = "";
      return;
    }
    const told = await response?.json().catch(() => null);
    const problem = document.getElementById("desk-problem");
    const why = told?.error.message ?? "It was not restored: the server could not be reached. Try again.";
    problem.replaceChildren(...(response?.status === 401 ? signInAgain() : [why]));
    problem.hidden = false;
  });
}
