// How long results take, from the moment that the last audio they cover was complete.
"use strict";

// Chunks remembered: minutes. Results cover no audio older than that.
const REMEMBERED = 2048;
// Buckets grow by 5 %, so that is how exact a percentile is.
const PER_E_FOLD = 20;
// A result ends where audio does, but for what arithmetic with floats adds.
const ROUNDING = 1e-4;

export class LatencyMeter {
  #chunks = []; // [its end in seconds of the session, when it was complete], in order
  #counts = new Map(); // bucket -> how many
  #results = 0;

  /** All audio up to this second is complete. `now`: milliseconds of one clock. */
  heard(seconds, now) {
    if (this.#chunks.length === REMEMBERED) {
      this.#chunks.splice(0, REMEMBERED / 2);
    }
    this.#chunks.push([seconds, now]);
  }

  /** A result that covers the audio up to this second is shown. */
  shown(seconds, now) {
    const chunk = this.#chunks.find(([end]) => end >= seconds - ROUNDING);
    if (chunk) {
      const bucket = Math.floor(Math.log1p(now - chunk[1]) * PER_E_FOLD);
      this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + 1);
      this.#results += 1;
    }
  }

  /** { p50_ms, p95_ms, p99_ms, results }; null before the first result. */
  summary() {
    if (!this.#results) {
      return null;
    }
    const buckets = [...this.#counts].sort(([a], [b]) => a - b);
    return {
      p50_ms: this.#percentile(buckets, 0.5),
      p95_ms: this.#percentile(buckets, 0.95),
      p99_ms: this.#percentile(buckets, 0.99),
      results: this.#results,
    };
  }

  #percentile(buckets, part) {
    let left = part * this.#results;
    const [bucket] = buckets.find(([, count]) => (left -= count) <= 1e-9) ?? buckets.at(-1);
    return Math.round(Math.expm1((bucket + 0.5) / PER_E_FOLD) * 10) / 10;
  }
}
