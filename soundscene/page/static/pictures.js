// Pictures of sound for a page whose service predicts: a spectrogram of 64 mel bands, made here, because the service sends
// posteriors only. Pictures of a page with its own engine are what the network receives.

import { fft } from "./meter.js";

export const FEATURES = { kind: "mel", n_bands: 64, low_hz: 50 };
const N_FFT = 2048;
const FRAMES = 40; // of a segment
const [STEP_DB, LOWEST_DB] = [0.6, -100]; // of a byte, as in worker.js

export class Pictures {
  /** `rate` of the sound, `topHz` of the picture: half the model's rate. */
  constructor(rate, topHz) {
    this.rate = rate;
    this.held = new Float32Array(0);
    this.first = 0; // number of the first held sample
    this.window = Float64Array.from({ length: N_FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / N_FFT));
    this.edges = melEdges(FEATURES.n_bands, FEATURES.low_hz, topHz).map((hz) => (hz / rate) * N_FFT);
  }

  push(samples) {
    const held = new Float32Array(this.held.length + samples.length);
    held.set(this.held);
    held.set(samples, this.held.length);
    this.held = held;
  }

  /** The picture of a segment, as `members` has it; sound before it is forgotten. */
  take(startS, endS) {
    const [from, to] = [startS, endS].map((s) => Math.round(s * this.rate));
    const bands = FEATURES.n_bands;
    const bytes = new Uint8Array(bands * FRAMES);
    const [re, im] = [new Float64Array(N_FFT), new Float64Array(N_FFT)];
    for (let f = 0; f < FRAMES; f++) {
      const at = Math.round(from + ((f + 0.5) / FRAMES) * (to - from)) - N_FFT / 2 - this.first;
      for (let i = 0; i < N_FFT; i++) re[i] = (this.held[at + i] ?? 0) * this.window[i];
      im.fill(0);
      fft(re, im);
      for (let band = 0; band < bands; band++) {
        const level = (10 * Math.log10(this.powerOf(band, re, im) + 1e-10) - LOWEST_DB) / STEP_DB;
        bytes[band * FRAMES + f] = Math.max(0, Math.min(255, level));
      }
    }
    const gone = Math.max(0, Math.min(from - N_FFT - this.first, this.held.length));
    this.held = this.held.slice(gone);
    this.first += gone;
    return { bands, frames: FRAMES, bytes, temporal: null, spatial: null };
  }

  powerOf(band, re, im) {
    const [low, high] = [this.edges[band], this.edges[band + 2]];
    const [first, last] = [Math.ceil(low), Math.max(Math.ceil(low), Math.floor(high))];
    let power = 0;
    for (let k = first; k <= last && k < N_FFT / 2; k++) power += re[k] * re[k] + im[k] * im[k];
    return power / (last - first + 1);
  }
}

function melEdges(n, lowHz, topHz) {
  const toMel = (hz) => (hz < 1000 ? (hz * 3) / 200 : 15 + Math.log(hz / 1000) / (Math.log(6.4) / 27));
  const toHz = (mel) => (mel < 15 ? (mel * 200) / 3 : 1000 * Math.exp((Math.log(6.4) / 27) * (mel - 15)));
  const [low, top] = [toMel(lowHz), toMel(topHz)];
  return Array.from({ length: n + 2 }, (_, i) => toHz(low + ((top - low) * i) / (n + 1)));
}
