// Keeps the rows of a list of jobs up to date that have not ended: <div data-states="URL"> stands beside it.
"use strict";

const states = document.querySelector("[data-states]")?.dataset.states;
const ended = new Set();
const rows = () =>
  new Map([...document.querySelectorAll("#result_list .action-select")].map((box) => [box.value, box.closest("tr")]));

let failures = 0;

const look = async () => {
  const open = [...rows()].filter(([id]) => !ended.has(id));
  if (!open.length) {
    return;
  }
  if (!document.hidden) {
    try {
      const asked = new URLSearchParams(open.map(([id]) => ["id", id]));
      const response = await fetch(`${states}?${asked}`, { headers: { "X-Requested-With": "XMLHttpRequest" } });
      if (response.redirected) {
        return location.reload();
      }
      const found = await response.json();
      for (const [id, row] of open) {
        const job = found[id];
        if (!job || job.ended) {
          ended.add(id);
        }
        for (const name of ["labelled_status", "waiting_for", "attempts", "took"]) {
          const cell = job && row.querySelector(`.field-${name}`);
          if (cell && cell.dataset.shown !== job[name]) {
            // A name for narrow screens may stand in it, before its text.
            cell.dataset.shown = cell.innerHTML = job[name];
          }
        }
      }
      failures = 0;
    } catch {
      failures += 1;
    }
  }
  setTimeout(look, 3000 * 2 ** Math.min(failures, 5));
};

if (states) {
  setTimeout(look, 3000);
}
