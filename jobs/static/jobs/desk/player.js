// The recording: played, sought in, and drawn.

const PEAKS_PER_SECOND = 20;
// How much of it is drawn large, to either side of what is heard.
const NEAR_SECONDS = 8;
const WAVEFORM_TRIES = 20;

export const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};

// `moved` is called with the time whenever it changes; `failed` with why nothing is heard.
export class Player {
  #audio = document.getElementById("desk-audio");
  #near = document.getElementById("desk-near");
  #whole = document.getElementById("desk-waveform");
  #seek = document.getElementById("desk-seek");
  #play = document.getElementById("desk-play");
  #clock = document.getElementById("desk-clock");
  #peaks = null;
  #loudest = 1;
  #colours = {};
  #moved;

  constructor(moved, failed) {
    this.#moved = moved;
    const audio = this.#audio;
    for (const kind of ["play", "pause"]) {
      audio.addEventListener(kind, () => {
        this.#play.textContent = audio.paused ? "Play" : "Pause";
        this.#frame();
      });
    }
    for (const kind of ["timeupdate", "seeked", "loadedmetadata"]) {
      audio.addEventListener(kind, () => this.#show());
    }
    audio.addEventListener("error", () => failed("This browser cannot play the recording. Save it from the job's page."));
    this.#play.addEventListener("click", () => this.toggle());
    document.getElementById("desk-back").addEventListener("click", () => this.skip(-3));
    document.getElementById("desk-forward").addEventListener("click", () => this.skip(3));
    const speed = document.getElementById("desk-speed");
    speed.addEventListener("change", () => { audio.playbackRate = Number(speed.value); });
    this.#seek.addEventListener("input", () => this.seek(Number(this.#seek.value)));
    this.#seek.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -3, ArrowDown: -3, ArrowRight: 3, ArrowUp: 3, PageDown: -30, PageUp: 30 }[event.key];
      if (by) {
        event.preventDefault();
        event.stopPropagation();
        this.skip(by);
      }
    });
    this.#near.addEventListener("click", (event) => {
      const { left, width } = this.#near.getBoundingClientRect();
      this.seek(this.time + ((event.clientX - left) / width - 0.5) * 2 * NEAR_SECONDS);
    });
    new ResizeObserver(() => this.#draw()).observe(this.#whole);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    new MutationObserver(() => this.#draw()).observe(document.documentElement, { attributeFilter: ["class"] });
  }

  get time() {
    return this.#audio.currentTime;
  }

  get playing() {
    return !this.#audio.paused;
  }

  toggle() {
    if (this.#audio.paused) {
      this.#audio.play().catch(() => {});
    } else {
      this.#audio.pause();
    }
  }

  seek(seconds) {
    const end = Number.isFinite(this.#audio.duration) ? this.#audio.duration : Infinity;
    this.#audio.currentTime = Math.min(Math.max(seconds, 0), end);
    this.#show();
  }

  skip(seconds) {
    this.seek(this.time + seconds);
  }

  // Measured by the server when it is first asked for, one recording at a time.
  async draw(address) {
    for (let tries = 0; tries < WAVEFORM_TRIES; tries += 1) {
      const response = await fetch(address).catch(() => null);
      if (response?.ok) {
        this.#peaks = new Uint8Array(await response.arrayBuffer());
        this.#loudest = this.#peaks.reduce((most, peak) => Math.max(most, peak), 1);
        this.#draw();
        return;
      }
      if (response && response.status !== 503) {
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
    this.#near.hidden = true;
  }

  #frame() {
    if (this.playing) {
      this.#show();
      requestAnimationFrame(() => this.#frame());
    }
  }

  #show() {
    const { currentTime, duration } = this.#audio;
    const end = Number.isFinite(duration) ? duration : 0;
    this.#seek.max = end || 1;
    this.#seek.value = currentTime;
    const told = `${clock(currentTime)} / ${clock(end)}`;
    if (this.#clock.value !== told) {
      this.#clock.value = told;
      this.#seek.setAttribute("aria-valuetext", `${clock(currentTime)} of ${clock(end)}`);
    }
    this.#drawNear();
    this.#moved(currentTime);
  }

  #draw() {
    const style = getComputedStyle(this.#whole);
    this.#colours = { sound: style.color, heard: style.getPropertyValue("--desk-heard") };
    const context = fitted(this.#whole);
    const { width, height } = this.#whole;
    if (!this.#peaks || !width) {
      return;
    }
    context.fillStyle = this.#colours.sound;
    for (let x = 0; x < width; x += 1) {
      const from = Math.floor((x / width) * this.#peaks.length);
      const to = Math.max(from + 1, Math.floor(((x + 1) / width) * this.#peaks.length));
      let loud = 0;
      for (let at = from; at < to; at += 1) {
        loud = Math.max(loud, this.#peaks[at] ?? 0);
      }
      bar(context, x, 1, loud / this.#loudest, height);
    }
    this.#drawNear();
  }

  #drawNear() {
    if (!this.#peaks || !this.#near.clientWidth) {
      return;
    }
    const context = fitted(this.#near);
    const { width, height } = this.#near;
    const each = width / (2 * NEAR_SECONDS * PEAKS_PER_SECOND);
    const first = (this.time - NEAR_SECONDS) * PEAKS_PER_SECOND;
    for (let at = Math.max(Math.floor(first), 0); at < this.#peaks.length; at += 1) {
      const x = (at - first) * each;
      if (x > width) {
        break;
      }
      context.fillStyle = x < width / 2 ? this.#colours.heard : this.#colours.sound;
      bar(context, x, Math.max(each - 1, 1), this.#peaks[at] / this.#loudest, height);
    }
    context.fillRect(width / 2, 0, Math.max(devicePixelRatio, 1), height);
  }
}

const bar = (context, x, width, loudness, height) => {
  // Louder is not that much higher to the eye as it is in numbers.
  const tall = Math.max(Math.sqrt(loudness) * height, 1);
  context.fillRect(x, (height - tall) / 2, width, tall);
};

const fitted = (canvas) => {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * devicePixelRatio));
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height });
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return context;
};
