// The page /live/: its form, its captions, and how the session goes.
"use strict";

import { LiveTranscription, Microphone, MicrophoneError } from "./live.js";

const find = (id) => document.getElementById(id);
const main = find("live");
const settings = find("settings");
const captions = find("captions");
const toggle = find("toggle");
const status = find("status");

const QUIET_PEAK = 0.002;
const QUIET_MS = 5000;

let live = null;
let startedAt = 0;
let soundAt = 0;
let wakeLock = null;

// Microphones

const listMicrophones = async () => {
  const select = settings.elements.microphone;
  const chosen = select.value;
  const all = (await Microphone.all()).filter(({ id }) => id !== "default");
  const options = all.map(({ id, label }, index) => new Option(label || `Microphone ${index + 1}`, id));
  select.replaceChildren(select.options[0], ...options);
  select.value = all.some(({ id }) => id === chosen) ? chosen : "";
};

// Captions

const follow = (change) => {
  const isAtEnd = captions.scrollHeight - captions.scrollTop - captions.clientHeight < 40;
  change();
  if (isAtEnd) {
    captions.scrollTop = captions.scrollHeight;
  }
};

const insert = (element, start) => {
  element.dataset.start = start;
  const following = [...find("said").children].find((other) => Number(other.dataset.start) > start);
  find("said").insertBefore(element, following ?? null);
};

const make = (className, text) => {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = `${text} `;
  return element;
};

const showFinal = ({ seq, text, start, speechFinal, late }) => follow(() => {
  if (text) {
    const element = make(late ? "late" : "", text);
    element.dataset.seq = seq;
    insert(element, start);
  }
  if (speechFinal) {
    [...find("said").children].findLast((other) => Number(other.dataset.start) <= start)?.classList.add("utterance-end");
  }
});

const takeBack = (seq) => find("said").querySelector(`[data-seq="${seq}"]`)?.remove();

const showInterim = (result) => follow(() => {
  find("interim").textContent = result?.text ?? "";
});

const showGap = ({ start, end }) => follow(() =>
  insert(make("gap utterance-end", `[${(end - start).toFixed(1)} seconds could not be saved]`), start));

// How it goes

const tell = (state, text) => {
  status.dataset.state = state;
  status.textContent = text;
};

const complain = (message, link) => {
  const problem = find("problem");
  problem.replaceChildren(message);
  if (link) {
    const element = document.createElement("a");
    [element.href, element.textContent] = link;
    problem.append(" ", element);
  }
  problem.hidden = !message;
};

const clock = (seconds) => {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

const showFigures = () => {
  if (live?.state === "connected" || live?.state === "connecting") {
    find("elapsed").textContent = clock((performance.now() - startedAt) / 1000);
    const { p50_ms: half, p95_ms: most } = live.latency ?? {};
    find("latency").textContent = half === undefined ? "–" : `${Math.round(half)} / ${Math.round(most)} ms`;
    find("latency").dataset.results = live.latency?.results ?? 0;
  }
  if (status.dataset.state === "connected") {
    const isQuiet = performance.now() - soundAt > QUIET_MS;
    tell("connected", isQuiet ? "Live, but nothing is heard: is the microphone muted?" : "Live");
  }
};

const showLevel = (peak) => {
  if (peak > QUIET_PEAK) {
    soundAt = performance.now();
  }
  // A voice is 20 to 50 decibels below the loudest there is.
  const decibels = 20 * Math.log10(peak + 1e-6);
  find("level").style.transform = `scaleX(${Math.min(Math.max((decibels + 60) / 60, 0), 1)})`;
};

const showOutcome = ({ sessionId, results }) => {
  const stream = `${main.dataset.streams}${sessionId}/`;
  const words = results.reduce((count, { words }) => count + words.length, 0);
  find("outcome-figures").textContent = `${words} ${words === 1 ? "word" : "words"} in ${find("elapsed").textContent}.`;
  for (const link of document.querySelectorAll("[data-form]")) {
    link.href = `${stream}transcript.${link.dataset.form}`;
  }
  document.querySelector("[data-stream]").href = main.dataset.streamPage.replace("ID", sessionId);
  follow(() => { find("outcome").hidden = false; });
};

// Sockets do not tell why they were refused.
const explain = async ({ code, message }) => {
  if (code !== "unreachable") {
    return complain(message);
  }
  try {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual" });
    if (answer.type === "opaqueredirect") {
      return complain("You are not signed in any more.", [main.dataset.login, "Sign in"]);
    }
    return complain("The session was refused: the service may be full or without a provider, or this model does not know this language.");
  } catch {
    return complain("The server cannot be reached. Look to your connection, and start again.");
  }
};

// A session

const asked = () => {
  const { language, model, project, record } = settings.elements;
  return {
    model: model.value,
    smart_format: true,
    ...(language.value && { language: language.value }),
    ...(project.value && { project: project.value }),
    ...(record.checked && { record: true }),
  };
};

// Not disabled, by which it would lose the focus.
const busy = (isBusy) => toggle.setAttribute("aria-disabled", isBusy);

const running = (isRunning) => {
  settings.querySelector("fieldset").disabled = isRunning;
  toggle.toggleAttribute("data-running", isRunning);
  toggle.textContent = isRunning ? "Stop" : "Start";
};

const over = async ({ code, message }) => {
  busy(false);
  running(false);
  showLevel(0);
  wakeLock?.release();
  wakeLock = null;
  tell(code === "ended" ? "ended" : "failed", code === "ended" ? "Ended" : "Disconnected");
  if (live.sessionId) {
    showOutcome(live);
  }
  if (message) {
    await explain({ code, message });
  }
};

const start = async () => {
  complain("");
  find("hint").hidden = true;
  find("outcome").hidden = true;
  find("said").replaceChildren();
  find("latency").textContent = "–";
  find("elapsed").textContent = "0:00";
  busy(true);
  tell("connecting", "Asking for the microphone…");
  live = new LiveTranscription({ options: asked() });
  const on = (type, handle) => live.addEventListener(type, ({ detail }) => handle(detail));
  on("connecting", () =>
    tell("connecting", live.sessionId ? "Connection lost: what you say is kept until it is back" : "Connecting…"));
  on("connected", () => tell("connected", "Live"));
  on("status", ({ state }) =>
    tell(state === "connected" ? "connected" : "connecting", state === "connected" ? "Live" : "The recogniser is away: what you say is kept until it is back"));
  on("final", showFinal);
  on("retract", ({ seq }) => takeBack(seq));
  on("interim", showInterim);
  on("gap", showGap);
  on("level", ({ peak }) => showLevel(peak));
  on("disconnected", over);
  try {
    await live.start({ deviceId: settings.elements.microphone.value });
  } catch (error) {
    busy(false);
    tell("failed", "No microphone");
    complain(error instanceof MicrophoneError ? error.message : `It did not start: ${error.message}`);
    return;
  }
  startedAt = soundAt = performance.now();
  busy(false);
  running(true);
  listMicrophones();
  // A screen that goes dark takes the microphone along.
  wakeLock = await navigator.wakeLock?.request("screen").catch(() => null);
};

const stop = () => {
  busy(true);
  tell("ending", "Finishing what was said…");
  live.stop();
};

const isRunning = () => live?.state === "connecting" || live?.state === "connected";

toggle.addEventListener("click", () => {
  if (toggle.getAttribute("aria-disabled") !== "true") {
    isRunning() ? stop() : start();
  }
});
settings.addEventListener("submit", (event) => event.preventDefault());
navigator.mediaDevices?.addEventListener("devicechange", listMicrophones);
window.addEventListener("beforeunload", (event) => {
  if (isRunning()) {
    event.preventDefault();
  }
});
setInterval(showFigures, 500);
listMicrophones();
toggle.disabled = false;
