// Sends each chosen file in a request of its own, with its progress, and shows what became of it.
// Without this script the form is sent as a whole.
"use strict";

const AT_ONCE = 2;

const form = document.getElementById("upload");
const drop = form.querySelector(".job-drop");
const input = drop.querySelector("input[type=file]");
const url = form.querySelector("input[name=url]");
const list = document.getElementById("upload-list");
const status = document.getElementById("upload-status");
const button = form.querySelector("button[type=submit]");

// django-unfold writes a chosen file's name into a text field beside it, which there is none of here. This mark
// keeps it off.
input.hasChangeListener = true;
// What is chosen goes into the list below, so the field itself would only ever say that nothing is.
drop.classList.add("job-drop-scripted");

// {file | url, row, progress, said, remove, state: "chosen" | "sending" | "accepted" | "refused"}
let items = [];
let sending = false;

const make = (tag, className, text) => {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text ?? "";
  return element;
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

const add = (name, detail, source) => {
  const item = { ...source, state: "chosen", row: make("li", "job-upload") };
  item.said = make("span", "job-upload-said", "");
  item.progress = make("progress", "");
  item.progress.max = 1;
  item.progress.value = 0;
  item.remove = make("button", "job-upload-remove", "×");
  item.remove.type = "button";
  item.remove.setAttribute("aria-label", `Remove ${name}`);
  item.remove.addEventListener("click", () => {
    item.row.remove();
    items = items.filter((other) => other !== item);
  });
  item.row.append(make("span", "job-upload-name", name), make("span", "job-subtle", detail), item.remove, item.progress, item.said);
  list.append(item.row);
  items.push(item);
  return item;
};

const addFiles = (files) => {
  for (const file of files) {
    const item = add(file.name, size(file.size), { file });
    if (file.size > Number(form.dataset.maxBytes)) {
      refuse(item, `It is larger than ${size(Number(form.dataset.maxBytes))}. Split or compress it.`);
      item.state = "too large";
    }
  }
  input.value = "";
};

const enter = (item, state, ...said) => {
  item.state = state;
  item.row.dataset.state = state;
  item.remove.hidden = state !== "chosen" && state !== "refused";
  item.said.replaceChildren(...said);
};

const refuse = (item, why) => enter(item, "refused", why);

const accept = (item, { job, batch }) => {
  item.progress.value = 1;
  const link = make("a", "job-link", `Accepted: see the ${job ? "job" : "batch"}`);
  link.href = (job ?? batch).url;
  enter(item, "accepted", link);
};

const inWords = (code) => {
  switch (code) {
    case 0: return "The connection was lost. Try again.";
    case 403: return "You are not logged in any more, or the page is too old: load it again.";
    case 413: return "The server takes no file as large as this. Split or compress it.";
    case 507: return "There is no room left to store it. Try again later, or ask whoever runs the service to make room.";
    default: return `The server answered ${code}. Try again; if it happens again, tell whoever runs it.`;
  }
};

const read = (request) => {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
};

const listed = (errors) =>
  Object.entries(errors).map(([field, why]) => [field, why.join(" ")].filter(Boolean).join(": ")).join(" ");

// The form without what is uploaded.
const asked = () => {
  const data = new FormData(form);
  data.delete("files");
  data.delete("url");
  return data;
};

const post = (address, data) =>
  fetch(address, { method: "POST", body: data, headers: { Accept: "application/json" } });

// A batch for what is sent now, to be sealed after it; throws what is wrong with the form.
const beginBatch = async () => {
  const response = await post(form.dataset.batchUrl, asked());
  if (response.status === 201) {
    return response.json();
  }
  throw new Error(response.status === 400 ? listed((await response.json()).errors) : inWords(response.status));
};

const send = (item, batch) => new Promise((resolve) => {
  const data = asked();
  if (batch) {
    data.append("batch", batch.id);
  }
  if (item.file) {
    data.append("files", item.file);
  } else {
    data.append("url", item.url);
  }
  enter(item, "sending", "Uploading…");
  item.progress.value = 0;

  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) {
      item.progress.value = event.loaded / event.total;
    }
  });
  request.upload.addEventListener("load", () => {
    // Indeterminate: it is being measured and stored.
    item.progress.removeAttribute("value");
    item.said.textContent = "Checking…";
  });
  request.addEventListener("loadend", () => {
    item.progress.value = 0;
    const { results, errors } = read(request);
    if (results?.[0]?.job || results?.[0]?.batch) {
      accept(item, results[0]);
    } else if (results?.[0]?.error) {
      refuse(item, results[0].error.message);
    } else if (errors) {
      refuse(item, listed(errors));
    } else {
      refuse(item, inWords(request.status));
    }
    resolve();
  });
  request.send(data);
});

const sendAll = async () => {
  const waiting = items.filter((item) => item.state === "chosen" || item.state === "refused");
  sending = button.disabled = true;
  let batch;
  try {
    batch = form.elements.batch_name.value.trim() && (await beginBatch());
  } catch (error) {
    sending = button.disabled = false;
    waiting.forEach((item) => refuse(item, error instanceof TypeError ? inWords(0) : error.message));
    return;
  }
  const worker = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      status.textContent = `${waiting.length + 1} to go…`;
      await send(item, batch);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const sealed = batch && (await post(batch.seal_url, asked()).then((response) => response.ok, () => false));
  sending = button.disabled = false;
  const accepted = items.filter((item) => item.state === "accepted").length;
  const refused = items.length - accepted;
  status.textContent = `${accepted} accepted${refused ? `, ${refused} refused: correct them and upload again, or remove them` : ""}.`;
  if (batch) {
    const link = make("a", "job-link", sealed ? "See the batch" : "Seal the batch on its page");
    link.href = batch.url;
    status.append(" ", link);
  }
};

input.addEventListener("change", () => addFiles([...input.files]));

// Only a script can leave out what file managers hide there.
const folder = document.getElementById("upload-folder");
folder.hasChangeListener = true;
folder.parentElement.hidden = false;
folder.addEventListener("change", () => {
  addFiles([...folder.files].filter((file) => !file.name.startsWith(".")));
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
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  addFiles([...event.dataTransfer.files]);
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
    sendAll();
  }
});

window.addEventListener("beforeunload", (event) => {
  if (sending) {
    event.preventDefault();
  }
});
