// Asks before what cannot be taken back: <button data-confirm="QUESTION">.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-confirm]");
  if (button && !confirm(button.dataset.confirm)) {
    event.preventDefault();
  }
});
