// Live transcription of the microphone that survives lost connections. No dependencies; docs/live.md is its guide.
//
//   const live = new LiveTranscription({ options: { model: "nova-3" }, grant: () => fetchGrant() });
//   live.addEventListener("final", ({ detail }) => show(detail.text));
//   await live.start();
//   …
//   await live.stop();
//
// One session goes on over any number of sockets. Audio is kept until it is acknowledged, which is when all that
// was said in it is stored; after a break the server says from which byte on it wants to hear it again. Final
// results that it had not stored by then it will find again, so those that were shown are taken back.
"use strict";

import { LatencyMeter } from "./latency.js";
import { Microphone } from "./microphone.js";
import { Unacknowledged } from "./unacknowledged.js";

export { Microphone, MicrophoneError } from "./microphone.js";

// How long a session can be resumed, by the server's rules, and no more audio is kept than that.
const RESUME_MS = 120_000;
// The last one is repeated. A server that was restarted meets everybody at once, hence the jitter.
const DELAYS_MS = [0, 500, 1000, 2000, 4000, 8000];
// Of a session that has not begun: what is refused now is refused again.
const FIRST_ATTEMPTS = 3;
const HANDSHAKE_MS = 10_000;
// Nothing came, or nothing went, for so long: networks vanish without a word.
const STALLED_MS = 15_000;
// The second and third are for poor connections: fewer and larger messages.
const CHUNKS_MS = [100, 200, 250];
const BETTER_AFTER_MS = 30_000;
const REPORT_MS = 10_000;
// At the end, of a server that is there: what told that all was said has been lost.
const LAST_ATTEMPTS = 3;

const MOVED = 4000;
// Close codes after which there is no use in coming back.
const FINAL_CODES = {
  1002: ["refused", "The server does not understand this page: load it again."],
  1003: ["refused", "The server does not understand this page: load it again."],
  1007: ["refused", "The server does not understand this page: load it again."],
  1008: ["bad_audio", "The audio could not be decoded."],
  4009: ["replaced", "The session goes on elsewhere, or was deleted."],
  4029: ["limit", "There are as many live sessions as there may be. Try again when one has ended."],
};

/**
 * Events, all CustomEvents:
 *   connecting             the first connection, or another one after a break
 *   connected              { sessionId, resumed }: audio is sent, whatever was kept meanwhile first
 *   disconnected           { code, message }: over; `ended` if that was asked for. Once.
 *   final                  a result: { seq, text, words, start, end, speechFinal, late }; seconds of the session
 *   retract                { seq }: this final result was not stored, and comes again
 *   interim                a result that will change, or null when there is none
 *   status                 { state }: the service's side: connected, reconnecting, moving
 *   gap                    { start, end }: seconds of which there will be no transcript
 *   level                  { peak }: 0 to 1, of each piece of audio
 */
export class LiveTranscription extends EventTarget {
  #url;
  #options;
  #grant;
  #interimMs;

  #microphone = null;
  #audio = null;
  #latency = null;
  #chunks = 0;
  #poorAt = 0;

  #socket = null;
  #token = null;
  #isAsking = false; // for a grant, of which the network may come back meanwhile
  #isOpen = false; // The server has told where to go on from.
  #sent = 0; // bytes of the session that this socket was given
  #handed = 0; // bytes that this socket was given
  #left = 0; // of those, the ones that have left the browser
  #leftAt = 0;
  #heardAt = 0;
  #serviceState = "connected";
  #attempts = 0;
  #lostAt = null;
  #timers = {};

  #finals = new Map(); // seq -> result
  #ackedSeq = 0;
  #repeated = new Set(); // seqs that the server sent again on this socket
  #pendingInterim = null;
  #interimAt = 0;

  #isEnding = false;
  #isComplete = false;
  #why = ["ended", ""];
  #over;
  #settle;

  /** idle, connecting, connected, disconnected */
  state = "idle";
  sessionId = null;

  /**
   * url        of the socket; this module's own server by default
   * options    Deepgram's parameters, `model` at least, and `record`, `tag`, `project`
   * grant      a function that returns (a promise of) a grant's token; without one the session cookie counts
   * interimMs  at most one interim result in this time
   */
  constructor({ url, options = {}, grant = null, interimMs = 100 } = {}) {
    super();
    this.#url = new URL(url ?? "/v1/listen", import.meta.url);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#options = options;
    this.#grant = grant;
    this.#interimMs = interimMs;
    this.#over = new Promise((resolve) => { this.#settle = resolve; });
  }

  /** { p50_ms, p95_ms, p99_ms, results }, from a chunk being complete to its result being shown; or null. */
  get latency() {
    return this.#latency?.summary() ?? null;
  }

  /** The final results so far, in the order of what was said. */
  get results() {
    return [...this.#finals.values()].sort((a, b) => a.start - b.start || a.seq - b.seq);
  }

  /** Milliseconds of audio in one message. */
  get chunkMs() {
    return CHUNKS_MS[this.#chunks];
  }

  /** Opens the microphone, then the session. Throws MicrophoneError. */
  async start({ deviceId } = {}) {
    const microphone = await Microphone.open({ deviceId, chunkMs: this.chunkMs });
    if (this.#isEnding) {
      await microphone.close();
      return;
    }
    const { sampleRate } = microphone;
    this.#microphone = microphone;
    this.#audio = new Unacknowledged(2 * sampleRate * (RESUME_MS / 1000));
    this.#latency = new LatencyMeter();
    microphone.onaudio = (samples) => this.#record(samples);
    microphone.onlost = () => {
      this.#why = ["microphone_lost", "The microphone is gone. What was said until then is transcribed."];
      this.stop();
    };
    addEventListener("online", this.#online);
    addEventListener("offline", this.#offline);
    this.#timers.watch = setInterval(() => this.#watch(), 1000);
    this.#timers.report = setInterval(() => this.#report(), REPORT_MS);
    this.#enter("connecting");
    this.#connect();
  }

  /** Ends it: what was said is still transcribed. Resolves, as `disconnected` is told, when all of it is there. */
  stop() {
    if (!this.#isEnding) {
      this.#isEnding = true;
      this.#finish();
    }
    return this.#over;
  }

  async #finish() {
    await this.#microphone?.close();
    if (this.state === "idle") {
      this.#end(...this.#why);
    } else {
      this.#closeStream();
    }
  }

  #closeStream() {
    if (this.#isOpen && this.#microphone.isClosed) {
      this.#report();
      this.#socket.send('{"type":"CloseStream"}');
    }
  }

  // Audio

  #record(samples) {
    const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    this.#audio.add(bytes);
    this.#latency.heard(this.#seconds(this.#audio.end), performance.now());
    this.#send();
    this.#emit("level", { peak: samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0) / 32768 });
  }

  #send() {
    if (!this.#isOpen) {
      return;
    }
    const waiting = this.#socket.bufferedAmount;
    for (const bytes of this.#audio.from(this.#sent)) {
      this.#socket.send(bytes);
      this.#sent += bytes.length;
      this.#handed += bytes.length;
    }
    if (waiting > 0) {
      this.#resize(1);
    } else if (performance.now() - this.#poorAt > BETTER_AFTER_MS) {
      this.#resize(-1);
    }
  }

  #resize(step) {
    this.#poorAt = performance.now();
    this.#chunks = Math.min(Math.max(this.#chunks + step, 0), CHUNKS_MS.length - 1);
    this.#microphone.chunkMs = this.chunkMs;
  }

  #seconds(bytes) {
    return bytes / 2 / this.#microphone.sampleRate;
  }

  // Connections

  async #connect() {
    const protocols = [];
    if (this.#grant && !this.#token) {
      if (this.#isAsking) {
        return;
      }
      this.#isAsking = true;
      try {
        protocols.push("bearer", await this.#grant());
      } catch (error) {
        this.#end("no_grant", `There was no permission to begin: ${error.message}`);
        return;
      } finally {
        this.#isAsking = false;
      }
    }
    if (this.state === "disconnected") {
      return;
    }
    const socket = new WebSocket(this.#address(), protocols);
    this.#socket = socket;
    this.#repeated.clear();
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#timers.handshake = setTimeout(() => this.#lose(), HANDSHAKE_MS);
  }

  #address() {
    const address = new URL(this.#url);
    const query = address.searchParams;
    if (this.#token) {
      query.set("resume", this.#token);
      query.set("last_seq", this.#ackedSeq);
      return address;
    }
    for (const [name, values] of Object.entries({ interim_results: true, ...this.#options })) {
      for (const value of [values].flat()) {
        query.append(name, value);
      }
    }
    query.set("encoding", "linear16");
    query.set("sample_rate", this.#microphone.sampleRate);
    query.set("channels", 1);
    query.set("resumable", true);
    return address;
  }

  #hear(message) {
    this.#heardAt = performance.now();
    switch (message.type) {
      case "Session":
        this.#begin(message);
        break;
      case "Results":
        this.#attempts = 0;
        this.#result(message);
        break;
      case "Ack":
        this.#audio.acknowledge(message.audio_bytes);
        this.#ackedSeq = message.seq;
        break;
      case "Status":
        this.#serviceState = message.state;
        this.#emit("status", { state: message.state });
        break;
      case "Gap":
        this.#emit("gap", { start: message.start, end: message.end });
        break;
      case "Metadata":
        // The last message of a stream that was closed.
        this.#isComplete = this.#isEnding;
        break;
    }
  }

  #begin({ session_id: sessionId, token, audio_offset: offset }) {
    clearTimeout(this.#timers.handshake);
    const resumed = this.#token !== null;
    this.#token = token;
    this.sessionId = sessionId;
    this.#takeBack();
    const missing = this.#audio.start - offset;
    if (missing > 0) {
      // Sent as silence, so that all that follows stays at its place.
      this.#emit("gap", { start: this.#seconds(offset), end: this.#seconds(this.#audio.start) });
    }
    this.#isOpen = true;
    this.#sent = offset;
    this.#handed = this.#left = 0;
    this.#leftAt = this.#heardAt;
    this.#lostAt = null;
    this.#serviceState = "connected";
    this.#enter("connected", { sessionId, resumed });
    this.#send();
    this.#closeStream();
  }

  // The server goes on from the last final result that it stored.
  #takeBack() {
    for (const seq of [...this.#finals.keys()]) {
      if (seq > this.#ackedSeq && !this.#repeated.has(seq)) {
        this.#finals.delete(seq);
        this.#emit("retract", { seq });
      }
    }
  }

  #closed(code, reason) {
    if (code === 1000 || this.#isComplete) {
      this.#end(...(this.#isEnding ? this.#why : ["closed", reason || "The server ended the session."]));
    } else if (code in FINAL_CODES) {
      const [name, message] = FINAL_CODES[code];
      this.#end(name, reason || message);
    } else {
      this.#lose(code);
    }
  }

  #lose(code) {
    this.#drop();
    // Not performance.now(), which stands still while a machine sleeps.
    this.#lostAt ??= Date.now();
    if (this.#token ? Date.now() - this.#lostAt > RESUME_MS : this.#attempts >= FIRST_ATTEMPTS) {
      const unreachable = ["unreachable", "The server cannot be reached, or it refused the session."];
      const expired = ["expired", "The connection was lost for too long, and the session has ended."];
      this.#end(...(this.#token ? expired : unreachable));
      return;
    }
    if (code !== MOVED) {
      this.#resize(1);
    }
    this.#showInterim(null);
    this.#enter("connecting");
    const delay = DELAYS_MS[Math.min(this.#attempts, DELAYS_MS.length - 1)];
    this.#attempts += 1;
    this.#timers.retry = setTimeout(() => this.#retry(), delay * (0.5 + Math.random()));
  }

  async #retry() {
    if (this.#microphone.isClosed && this.#attempts > LAST_ATTEMPTS && (await this.#isServed())) {
      this.#end("closed", "The connection was lost at the end. All that was said is in the session's transcript.");
    } else if (this.state === "connecting" && !this.#socket) {
      this.#connect();
    }
  }

  // Sockets tell the same of a session that is over and of a network that is.
  async #isServed() {
    const address = new URL(this.#url);
    address.protocol = address.protocol.replace("ws", "http");
    try {
      const { type, status } = await fetch(address, { mode: "no-cors" });
      return type === "opaque" || status < 500;
    } catch {
      return false;
    }
  }

  #drop() {
    clearTimeout(this.#timers.handshake);
    clearTimeout(this.#timers.retry);
    this.#isOpen = false;
    if (this.#socket) {
      // Not waited for: on a dead network its end would take minutes.
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
      this.#socket = null;
    }
  }

  #watch() {
    if (!this.#isOpen) {
      return;
    }
    const now = performance.now();
    const left = this.#handed - this.#socket.bufferedAmount;
    if (left > this.#left || left === this.#handed) {
      this.#left = left;
      this.#leftAt = now;
    }
    // While the service looks for another provider it has nothing to say.
    const isSilent = this.#serviceState === "connected" && now - this.#heardAt > STALLED_MS;
    if (isSilent || now - this.#leftAt > STALLED_MS) {
      this.#lose();
    }
  }

  #online = () => {
    clearTimeout(this.#timers.retry);
    if (this.state === "connecting" && !this.#socket) {
      this.#retry();
    }
  };

  #offline = () => {
    if (this.#socket) {
      this.#lose();
    }
  };

  #end(code, message) {
    if (this.state === "disconnected") {
      return;
    }
    this.#isEnding = true;
    this.#drop();
    this.#showInterim(null);
    Object.values(this.#timers).forEach((timer) => clearTimeout(timer));
    removeEventListener("online", this.#online);
    removeEventListener("offline", this.#offline);
    this.#microphone?.close();
    this.#enter("disconnected", { code, message });
    this.#settle({ code, message });
  }

  // Results

  #result(message) {
    const [{ transcript: text, words }] = message.channel.alternatives;
    const result = {
      seq: message.seq,
      text,
      words,
      start: message.start,
      end: message.start + message.duration,
      speechFinal: message.speech_final,
      late: message.late === true,
      connection: message.connection,
    };
    if (!message.is_final) {
      this.#throttle(result);
      return;
    }
    if (!this.#isOpen && this.#repeats(result)) {
      return;
    }
    this.#finals.set(result.seq, result);
    if (!result.late) {
      this.#showInterim(null);
    }
    this.#emit("final", result);
    this.#measure(result);
  }

  // Before a resumed session begins, the server sends what it has stored since the last acknowledgement.
  #repeats({ seq, start, text }) {
    this.#repeated.add(seq);
    const shown = this.#finals.get(seq);
    if (shown && (shown.start !== start || shown.text !== text)) {
      this.#finals.delete(seq);
      this.#emit("retract", { seq });
      return false;
    }
    return shown !== undefined;
  }

  #throttle(result) {
    this.#pendingInterim = result;
    this.#timers.interim ??= setTimeout(() => {
      this.#interimAt = performance.now();
      const shown = this.#pendingInterim;
      this.#showInterim(shown);
      this.#measure(shown);
    }, Math.max(0, this.#interimAt + this.#interimMs - performance.now()));
  }

  #showInterim(result) {
    clearTimeout(this.#timers.interim);
    this.#timers.interim = undefined;
    this.#pendingInterim = null;
    this.#emit("interim", result);
  }

  #measure({ end, late }) {
    // What nobody sees is not shown, and what is filled in later was never expected now.
    if (!late && !document.hidden) {
      requestAnimationFrame(() => this.#latency.shown(end, performance.now()));
    }
  }

  #report() {
    const latency = this.latency;
    if (this.#isOpen && latency) {
      this.#socket.send(JSON.stringify({ type: "ClientLatency", ...latency }));
    }
  }

  #enter(state, detail) {
    if (this.state !== state) {
      this.state = state;
      this.#emit(state, detail);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
