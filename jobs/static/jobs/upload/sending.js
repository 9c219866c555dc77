// How bytes get to the server: a form in one request, a large file in pieces that go on where they stood.

import { isLogin } from "../signed_in.js";

// Smaller ones are sent again from the start if the connection breaks.
export const LARGE_BYTES = 64 * 2 ** 20;
const PIECE_BYTES = 32 * 2 ** 20;
const TRIES = 12;
const LONGEST_WAIT_MS = 30_000;
// What passes by itself: the connection, a server that restarts, a piece of ours that it still holds on to.
const PASSING = new Set([0, 408, 409, 429, 502, 503, 504]);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const words = (status) => {
  switch (status) {
    case 0: return "The connection was lost. Try again.";
    case 413: return "The server takes no file as large as this. Split or compress it.";
    case 507: return "There is no room left to store it. Try again later, or ask whoever runs the service to make room.";
    default: return `The server answered ${status}. Try again; if it happens again, tell whoever runs it.`;
  }
};

const listed = (errors) =>
  Object.entries(errors).map(([field, why]) => [field, why.join(" ")].filter(Boolean).join(": ")).join(" ");

// What an answer that is none of those that were hoped for says to people.
export const refusal = ({ status, body }) =>
  new Refused(status, body.errors ? listed(body.errors) : body.error?.message ?? words(status));

// `progress(bytes)` is called as they are sent; without a connection the status is 0.
export const send = (method, address, { body, headers = {}, progress = () => {}, sent = () => {} } = {}) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open(method, address);
    request.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(headers)) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.upload.addEventListener("load", sent);
    request.addEventListener("loadend", () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // A page, or nothing.
      }
      // Of whoever is signed out a large form is not read: a page says 403.
      const isSignedOut = isLogin(request.responseURL) || (request.status === 403 && !answer.error);
      const status = isSignedOut ? 401 : request.status;
      resolve({ status, body: answer, header: (name) => request.getResponseHeader(name) });
    });
    request.send(body);
  });

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const knownAs = (file, project) => `upload:${project}:${file.name}:${file.size}:${file.lastModified}`;

// To be called when something was made of its upload: until then sending it in pieces goes on with that.
export const forget = (file, project) => localStorage.removeItem(knownAs(file, project));

// A large file by the API's uploads; the id of its upload, or null where it would go past the service, to a storage
// that only the form's way reaches from here. The same file, chosen again after a reload, goes on as well.
export const sendInPieces = async (file, { address, project, token }, progress) => {
  const headers = { "X-CSRFToken": token };
  const known = knownAs(file, project);
  const place = async (id) => send("GET", `${address}${id}/`);

  let upload = localStorage.getItem(known) && (await place(localStorage.getItem(known)));
  if (upload?.status !== 200) {
    const wanted = JSON.stringify({ filename: file.name, size: file.size });
    const json = { ...headers, "Content-Type": "application/json" };
    upload = await send("POST", `${address}?project=${project}`, { body: wanted, headers: json });
    if (upload.status !== 201) {
      throw refusal(upload);
    }
  }
  const { id, parts } = upload.body;
  if (parts) {
    await send("DELETE", `${address}${id}/`, { headers });
    return null;
  }
  localStorage.setItem(known, id);
  let { offset } = upload.body;
  for (let tries = 0; offset < file.size;) {
    const from = offset;
    const answer = await send("PATCH", `${address}${id}/`, {
      body: file.slice(from, from + PIECE_BYTES),
      headers: { ...headers, "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(from) },
      progress: (bytes) => progress(from + bytes),
    });
    if (answer.status === 204) {
      offset = Number(answer.header("Upload-Offset"));
      tries = 0;
      continue;
    }
    tries += 1;
    if (!PASSING.has(answer.status) || tries > TRIES) {
      throw refusal(answer);
    }
    await pause(Math.min(1000 * 2 ** (tries - 1), LONGEST_WAIT_MS));
    const now = await place(id);
    if (now.status === 404) {
      forget(file, project);
      throw refusal(now);
    }
    if (now.status === 200) {
      tries = now.body.offset > offset ? 0 : tries;
      ({ offset } = now.body);
      progress(offset);
    }
  }
  return id;
};
