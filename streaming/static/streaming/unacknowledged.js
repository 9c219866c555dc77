// Audio that may have to be sent again: what is not acknowledged, and no more than `most` bytes of it.
"use strict";

// Bytes in one message: servers take no more than 2 MiB.
const MOST_SILENCE = 1 << 20;

export class Unacknowledged {
  #most;
  #chunks = [];

  /** Bytes of the session: those from `start` up to `end` are kept. */
  start = 0;
  end = 0;

  constructor(most) {
    this.#most = most;
  }

  add(bytes) {
    this.#chunks.push(bytes);
    this.end += bytes.length;
    while (this.end - this.start > this.#most) {
      this.#forget();
    }
  }

  /** All before this byte is never asked for again. */
  acknowledge(byte) {
    while (this.#chunks.length && this.start + this.#chunks[0].length <= byte) {
      this.#forget();
    }
  }

  /** Everything from a byte on, in pieces; silence for what is not kept any more. */
  *from(byte) {
    for (let from = byte; from < this.start; from += MOST_SILENCE) {
      yield new Uint8Array(Math.min(MOST_SILENCE, this.start - from));
    }
    let at = this.end;
    let first = this.#chunks.length;
    while (first > 0 && at > byte) {
      first -= 1;
      at -= this.#chunks[first].length;
    }
    for (const chunk of this.#chunks.slice(first)) {
      yield at < byte ? chunk.subarray(byte - at) : chunk;
      at += chunk.length;
    }
  }

  #forget() {
    this.start += this.#chunks.shift().length;
  }
}
