// Keeps an element up to date: <div data-poll="URL" data-every="MILLISECONDS">. The answer is the element's new
// content; with data-hidden-too, also in a tab that is not looked at. "X-Ended: true" means that nothing will change any more: the whole page is then loaded once again, when
// nobody listens to it any more.
"use strict";

const playing = () => [...document.querySelectorAll("audio")].find((audio) => !audio.paused);

for (const element of document.querySelectorAll("[data-poll]")) {
  const every = Number(element.dataset.every);
  let failures = 0;
  let shown = "";

  const look = async () => {
    if (document.hidden && !("hiddenToo" in element.dataset)) {
      return again();
    }
    try {
      const response = await fetch(element.dataset.poll, { headers: { "X-Requested-With": "XMLHttpRequest" } });
      if (response.redirected) {
        // Logged out meanwhile: the page itself leads to the login.
        return location.reload();
      }
      if (!response.ok) {
        throw new Error(String(response.status));
      }
      const content = await response.text();
      const ended = response.headers.get("X-Ended") === "true";
      if (ended && !playing()) {
        return location.reload();
      }
      if (content !== shown) {
        element.innerHTML = shown = content;
      }
      if (ended) {
        return playing().addEventListener("pause", () => location.reload(), { once: true });
      }
      failures = 0;
    } catch {
      failures += 1;
    }
    element.classList.toggle("job-stale", failures > 1);
    again();
  };

  // Slower while the server does not answer, up to 32 times.
  const again = () => setTimeout(look, every * 2 ** Math.min(failures, 5));
  again();
}
