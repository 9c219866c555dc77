// A batch that is watched: how far it is in the tab's title, and a notification when it is done.

const live = document.querySelector(".job-live");
const offer = document.getElementById("notify");
const key = `watching:${location.pathname}`;
const name = document.title;
const isOpen = "poll" in live.dataset;
const mayAsk = "Notification" in globalThis && Notification.permission !== "denied";

const showProgress = () => {
  const bar = live.querySelector("progress");
  if (bar) {
    document.title = `${Math.floor((bar.value / bar.max) * 100)} %, ${name}`;
  }
};

const showOffer = () => {
  offer.hidden = !isOpen || !mayAsk || Notification.permission === "granted";
};

if (isOpen) {
  sessionStorage.setItem(key, "open");
  showProgress();
  new MutationObserver(showProgress).observe(live, { childList: true });
} else if (sessionStorage.getItem(key)) {
  // The page was loaded again since it is over.
  sessionStorage.removeItem(key);
  document.title = `Done: ${name}`;
  if (mayAsk && Notification.permission === "granted") {
    const told = new Notification("The batch is done", { body: offer.dataset.name, tag: key });
    told.addEventListener("click", () => window.focus());
  }
}
offer.addEventListener("click", async () => {
  await Notification.requestPermission();
  showOffer();
});
showOffer();
