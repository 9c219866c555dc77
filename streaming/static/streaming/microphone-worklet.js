// Runs in the audio thread: gathers what comes, 128 frames at a time, into pieces of linear16.
"use strict";

class Linear16 extends AudioWorkletProcessor {
  #frames = 4800;
  #piece = new Int16Array(4800);
  #filled = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.frames) {
        this.#hand();
        this.#frames = data.frames;
        this.#piece = new Int16Array(this.#frames);
      }
      if (data.flush) {
        this.#hand();
        this.port.postMessage("flushed");
      }
    };
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.#piece[this.#filled] = Math.round(Math.min(Math.max(sample, -1), 1) * 32767);
      this.#filled += 1;
      if (this.#filled === this.#frames) {
        this.#hand();
      }
    }
    return true;
  }

  #hand() {
    if (this.#filled) {
      const piece = this.#piece.slice(0, this.#filled);
      this.#filled = 0;
      this.port.postMessage(piece, [piece.buffer]);
    }
  }
}

registerProcessor("linear16", Linear16);
