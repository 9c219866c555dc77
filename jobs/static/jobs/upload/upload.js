// Sends each chosen file by itself, with its progress, and shows what became of it.
// Without this script the form is sent as a whole.

import { csrfToken, signInAgain } from "../signed_in.js";
import { LARGE_BYTES, Refused, forget, pause, refusal, send, sendInPieces } from "./sending.js";

const AT_ONCE = 3;
// Hashed before they are sent, to tell whether they were before; larger ones would not fit a page's memory.
const HASHED_BYTES = 256 * 2 ** 20;
const CONNECTION_TRIES = 3;
const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;

const form = document.getElementById("upload");
const drop = form.querySelector(".job-drop");
const input = drop.querySelector("input[type=file]");
const url = form.querySelector("input[name=url]");
const list = document.getElementById("upload-list");
const total = document.getElementById("upload-total");
const status = document.getElementById("upload-status");
const button = form.querySelector("button[type=submit]");

// django-unfold writes a chosen file's name into a text field beside it, which there is none of here. This mark
// keeps it off.
input.hasChangeListener = true;
// What is chosen goes into the list below, so the field itself would only ever say that nothing is.
drop.classList.add("job-drop-scripted");

// {name, file | url, size, sent, row, progress, said, actions, state}, where the state is one of
// chosen, sending, accepted, refused, duplicate, too large
let items = [];
let sending = 0;

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text ?? "";
  return element;
};

const makeButton = (text, label, action) => {
  const made = make("button", "job-button job-button-small", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
};

const makeLink = (text, address) => {
  const link = make("a", "job-link", text);
  link.href = address;
  return link;
};

const size = (bytes) => {
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
};

// What is chosen

const add = (name, detail, source) => {
  const item = { name, sent: 0, size: source.file?.size ?? 0, ...source, row: make("li", "job-upload") };
  item.said = make("span", "job-upload-said");
  item.actions = make("span", "job-upload-actions");
  item.progress = make("progress", "");
  item.progress.max = 1;
  item.progress.setAttribute("aria-label", `How much of ${name} is sent`);
  const remove = make("button", "job-upload-remove", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", `Remove ${name}`);
  remove.addEventListener("click", () => {
    item.row.remove();
    items = items.filter((other) => other !== item);
    showTotal();
  });
  item.remove = remove;
  item.row.append(make("span", "job-upload-name", name), make("span", "job-subtle", detail), remove, item.progress, item.said, item.actions);
  list.append(item.row);
  items.push(item);
  enter(item, "chosen");
  return item;
};

const isListed = (file) => items.some(
  (item) => item.file?.name === file.name && item.file.size === file.size && item.file.lastModified === file.lastModified,
);

const addFiles = (files) => {
  for (const file of files) {
    if (isListed(file)) {
      continue;
    }
    const item = add(file.name, size(file.size), { file });
    if (file.size > Number(form.dataset.maxBytes)) {
      enter(item, "too large", `It is larger than ${size(Number(form.dataset.maxBytes))}. Split or compress it.`);
    }
  }
  input.value = "";
  showTotal();
};

// File managers hide these there, and leave files of their own.
const visible = (files) => files.filter((file) => !file.name.startsWith("."));

const nameBatch = (name) => {
  const field = form.elements.batch_name;
  field.value = field.value || name;
};

// The files in what was dropped, folders included, as far down as they go.
const filesIn = async (entry) => {
  if (entry.name.startsWith(".")) {
    return [];
  }
  if (entry.isFile) {
    return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A hundred at a time, until there are none.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) {
      return found;
    }
    for (const inner of some) {
      found.push(...await filesIn(inner));
    }
  }
};

// How it goes

const enter = (item, state, ...said) => {
  item.state = state;
  item.row.dataset.state = state;
  item.remove.hidden = state === "sending" || state === "accepted";
  item.said.replaceChildren(...said);
  item.actions.replaceChildren();
  if (state === "refused") {
    item.actions.append(makeButton("Try again", `Try again: ${item.name}`, () => sendAll([item])));
  } else if (state === "duplicate") {
    item.actions.append(makeButton("Upload anyway", `Upload anyway: ${item.name}`, () => {
      item.known = item.latest;
      sendAll([item]);
    }));
  }
  showTotal();
};

const advance = (item, bytes) => {
  item.sent = Math.min(bytes, item.size);
  item.progress.value = item.size ? item.sent / item.size : 0;
  showTotal();
};

const accept = (item, { job, batch, duplicate_of: before }) => {
  item.sent = item.size;
  const said = [makeLink(`Accepted: see the ${job ? "job" : "batch"}`, (job ?? batch).url)];
  if (before) {
    said.push(" (the same audio as ", makeLink("an earlier job", before), ")");
  }
  enter(item, "accepted", ...said);
};

const showTotal = () => {
  const going = items.filter((item) => item.state === "sending" || item.state === "accepted" || item.isWaiting);
  total.hidden = going.length < 2;
  const all = going.reduce((sum, item) => sum + item.size, 0);
  const sent = going.reduce((sum, item) => sum + item.sent, 0);
  const [bar, said] = total.children;
  bar.value = all ? sent / all : 0;
  const done = going.filter((item) => item.state === "accepted").length;
  // They may stand far down the list.
  const refused = items.filter((item) => item.state === "refused").length;
  said.textContent = `${done} of ${going.length} files, ${size(sent)} of ${size(all)}${refused ? `, ${refused} refused` : ""}`;
};

// Sending

// The form without what is uploaded.
const asked = () => {
  const data = new FormData(form);
  for (const name of ["files", "url", "batch", "upload"]) {
    data.delete(name);
  }
  data.set("csrfmiddlewaretoken", csrfToken());
  return data;
};

const projectId = () => form.elements.project.value || form.dataset.personalProject;

const hashOf = async (file) => {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
};

const isHashed = ({ file }) => file && globalThis.crypto?.subtle && file.size <= HASHED_BYTES && !ARCHIVE.test(file.name);

// The latest job of the project with the very same audio, unless it is the one that people know of.
const otherJob = async (item) => {
  if (!isHashed(item)) {
    return null;
  }
  item.hash ??= await hashOf(item.file);
  const query = new URLSearchParams({ sha256: item.hash, project: projectId(), page_size: 1 });
  const answer = await send("GET", `${form.dataset.jobsUrl}?${query}`);
  if (answer.status === 0 || answer.status === 401) {
    throw refusal(answer);
  }
  item.latest = answer.body.results?.[0]?.id;
  return !item.latest || item.latest === item.known ? null : { url: `${form.dataset.jobPage}${item.latest}/change/` };
};

const deliver = async (item, batch) => {
  const data = asked();
  if (batch) {
    data.append("batch", batch.id);
  }
  const project = projectId();
  const upload = item.file?.size > LARGE_BYTES && !ARCHIVE.test(item.name)
    ? await sendInPieces(item.file, { address: form.dataset.uploadsUrl, project, token: csrfToken() }, (bytes) => advance(item, bytes))
    : null;
  data.append(...(upload ? ["upload", upload] : item.file ? ["files", item.file] : ["url", item.url]));
  let isSent = false;
  const checking = () => {
    isSent = true;
    // Indeterminate: it is being measured and stored.
    item.progress.removeAttribute("value");
    item.said.textContent = "Checking…";
  };
  const answer = await send("POST", form.action, {
    body: data,
    progress: (bytes) => upload || advance(item, bytes),
    sent: checking,
  });
  const [result] = answer.body.results ?? [];
  if (result?.job || result?.batch) {
    if (upload) {
      forget(item.file, project);
    }
    return result;
  }
  if (answer.status === 0 && isSent) {
    // It may have been accepted.
    if (!isHashed(item)) {
      throw new Refused(null, "The connection was lost before the answer came. Try again if there is no job of it.");
    }
    item.isUnanswered = true;
  }
  throw result?.error ? new Refused(422, result.error.message) : refusal(answer);
};

const sendOne = async (item, batch) => {
  item.isWaiting = false;
  advance(item, 0);
  for (let tries = 1; ; tries += 1) {
    try {
      enter(item, "sending", "Looking whether it is known…");
      const other = await otherJob(item);
      if (other && item.isUnanswered) {
        accept(item, { job: other });
      } else if (other) {
        enter(item, "duplicate", "Not sent: this audio was submitted before, see ", makeLink("the job", other.url), ".");
      } else {
        const into = await batch();
        enter(item, "sending", "Uploading…");
        accept(item, await deliver(item, into));
      }
      return;
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 0 || tries === CONNECTION_TRIES) {
        advance(item, 0);
        const why = error instanceof Refused ? error.message : "The file cannot be read. Choose it again.";
        enter(item, "refused", ...(error.status === 401 ? signInAgain() : [why]));
        return;
      }
      enter(item, "sending", "The connection was lost; trying again…");
      await pause(2000 * tries);
    }
  }
};

// A batch for what is sent now, to be sealed after it; Refused if something is wrong with the form.
const beginBatch = async () => {
  const answer = await send("POST", form.dataset.batchUrl, { body: asked() });
  if (answer.status !== 201) {
    throw refusal(answer);
  }
  return answer.body;
};

const sendAll = async (chosen) => {
  sending += 1;
  button.disabled = true;
  const waiting = [...chosen];
  let begun = null;
  // With the first that is really sent: one that all of it is known of would stay empty.
  const batch = () => {
    begun ??= form.elements.batch_name.value.trim() && beginBatch().catch((error) => {
      begun = error.status === 0 ? null : begun;
      throw error;
    });
    return begun;
  };
  waiting.forEach((item) => { item.isWaiting = true; });
  const worker = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      status.textContent = `${waiting.length + 1} to go…`;
      await sendOne(item, batch);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const made = await begun?.catch?.(() => null);
  const sealed = made && (await send("POST", made.seal_url, { body: asked() })).status === 200;
  sending -= 1;
  button.disabled = sending > 0;
  tellOutcome();
  if (made) {
    status.append(" ", makeLink(sealed ? "See the batch" : "Seal the batch on its page", made.url));
  }
};

const tellOutcome = () => {
  const count = (...states) => items.filter((item) => states.includes(item.state)).length;
  const refused = count("refused", "too large");
  const known = count("duplicate");
  status.textContent = `${[
    `${count("accepted")} accepted`,
    known && `${known} known already`,
    refused && `${refused} refused: correct them and try again, or remove them`,
  ].filter(Boolean).join(", ")}.`;
};

// What people do

input.addEventListener("change", () => addFiles([...input.files]));

// Only a script can leave out what file managers hide there.
const folder = document.getElementById("upload-folder");
folder.hasChangeListener = true;
folder.parentElement.hidden = false;
folder.addEventListener("change", () => {
  const files = visible([...folder.files]);
  nameBatch(files[0]?.webkitRelativePath.split("/")[0] ?? "");
  addFiles(files);
  folder.value = "";
});

for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("job-drop-over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("job-drop-over"));
}
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  // To be asked for before anything is waited for, which ends the drop.
  const entries = [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) {
    addFiles(visible([...event.dataTransfer.files]));
    return;
  }
  for (const entry of entries) {
    if (entry.isDirectory) {
      nameBatch(entry.name);
    }
    addFiles(await filesIn(entry));
  }
});

form.addEventListener("submit", (event) => {
  if (!form.reportValidity()) {
    event.preventDefault();
    return;
  }
  if (url.value) {
    add(url.value, "URL", { url: url.value });
    url.value = "";
  }
  if (items.some((item) => item.state !== "too large")) {
    event.preventDefault();
    sendAll(items.filter((item) => item.state === "chosen" || item.state === "refused"));
  }
});

window.addEventListener("beforeunload", (event) => {
  if (sending) {
    event.preventDefault();
  }
});
