// The microphone as pieces of linear16, at the rate of the machine's audio.
"use strict";

const WORKLET = new URL("./microphone-worklet.js", import.meta.url);
const FLUSH_MS = 500;
// A recogniser hears best what the microphone heard.
const UNTOUCHED = { autoGainControl: false, echoCancellation: false, noiseSuppression: false };

const PROBLEMS = {
  NotAllowedError: ["refused", "The browser may not use the microphone. Allow it in the address bar, and start again."],
  SecurityError: ["refused", "The browser may not use the microphone. Allow it in the address bar, and start again."],
  NotFoundError: ["absent", "There is no microphone. Plug one in, and start again."],
  OverconstrainedError: ["absent", "This microphone is not there any more. Choose another one."],
  NotReadableError: ["busy", "The microphone cannot be read. Another program may have it: close that, and start again."],
};

/** `code`: refused, absent, busy, insecure or failed. The message tells people what to do. */
export class MicrophoneError extends Error {
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "MicrophoneError";
    this.code = code;
  }
}

export class Microphone {
  #stream;
  #context;
  #node;

  /** Nothing comes any more. */
  isClosed = false;
  /** Called with an Int16Array of each piece; the last one may be shorter. */
  onaudio = () => {};
  /** Called when it is unplugged, or taken away. */
  onlost = () => {};

  /** Asks the user if need be. Throws MicrophoneError. */
  static async open({ deviceId, chunkMs }) {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError("insecure", "Browsers open the microphone on https:// addresses, and on this very machine, only.");
    }
    const audio = { channelCount: 1, ...UNTOUCHED, ...(deviceId && { deviceId: { exact: deviceId } }) };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      const [code, message] = PROBLEMS[error.name] ?? ["failed", `The microphone does not work: ${error.message}`];
      throw new MicrophoneError(code, message, error);
    }
    const context = new AudioContext({ latencyHint: "interactive" });
    try {
      await context.audioWorklet.addModule(WORKLET);
      await context.resume();
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      throw new MicrophoneError("failed", `The microphone does not work: ${error.message}`, error);
    }
    return new Microphone(stream, context, chunkMs);
  }

  /** Those that there are: [{ id, label }]. Browsers tell names, and more than one, once it was used. */
  static async all() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices
      .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId)
      .map(({ deviceId: id, label }) => ({ id, label }));
  }

  constructor(stream, context, chunkMs) {
    this.#stream = stream;
    this.#context = context;
    this.sampleRate = context.sampleRate;
    this.#node = new AudioWorkletNode(context, "linear16", {
      channelCount: 1,
      channelCountMode: "explicit",
      numberOfOutputs: 0,
    });
    this.chunkMs = chunkMs;
    this.#node.port.onmessage = ({ data }) => this.onaudio(data);
    context.createMediaStreamSource(stream).connect(this.#node);
    stream.getAudioTracks()[0].addEventListener("ended", () => this.onlost());
  }

  /** How much audio a piece has from now on. */
  set chunkMs(milliseconds) {
    this.#node.port.postMessage({ frames: Math.round((this.sampleRate * milliseconds) / 1000) });
  }

  /** Resolves when the last piece has been handed over. */
  async close() {
    if (this.isClosed) {
      return;
    }
    const { port } = this.#node;
    await new Promise((resolve) => {
      // A context that was put to sleep answers nothing.
      setTimeout(resolve, FLUSH_MS);
      port.onmessage = ({ data }) => (data === "flushed" ? resolve() : this.onaudio(data));
      port.postMessage({ flush: true });
    });
    port.onmessage = null;
    this.isClosed = true;
    this.#stream.getTracks().forEach((track) => track.stop());
    if (this.#context.state !== "closed") {
      await this.#context.close();
    }
  }
}
