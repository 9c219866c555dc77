// Gives names to what Django's and Select2's widgets leave nameless to screen readers (WAI-ARIA 1.2, 5.2.8).
"use strict";

const WIDGETS = ".admin-autocomplete, .selectfilter, .selector";

const name = () => {
  for (const hint of document.querySelectorAll(".search-label-icon:not([role])")) {
    hint.setAttribute("role", "img");
  }
  for (const chosen of document.querySelectorAll(".select2-selection[role=combobox]:not([aria-label])")) {
    const select = chosen.closest(".select2-container").previousElementSibling;
    chosen.removeAttribute("aria-labelledby");
    chosen.setAttribute("aria-label", select?.labels?.[0]?.textContent.trim() || "Choose");
    for (const attribute of ["role", "aria-readonly"]) {
      chosen.querySelector("[role=textbox], [aria-readonly]")?.removeAttribute(attribute);
    }
  }
};

window.addEventListener("load", () => {
  if (document.querySelector(WIDGETS)) {
    name();
    // They are made later than that, and more of them with each row that is added.
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  }
});
