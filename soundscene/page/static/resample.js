// One rate to another, block by block: a sinc under a Kaiser window, soxr's "HQ" as nearly as may be.
// Browsers resample too, each in its own way; here every browser gives the same samples.

// Fitted to soxr's answers to impulses: middle of the edge in half the lower rate, shape of the window, and its reach in samples
// at the lower rate. Where the rate falls to a whole fraction, soxr has this very filter, to 5e-8; else to 1e-4 of its peak.
const WHOLE = { edge: 0.95687183, beta: 13.04004, reach: 97.1 };
const OTHER = { edge: 0.95684, beta: 15.96, reach: 110.06 };
const MOST_PHASES = 1024;

export class Resampler {
  constructor(from, to) {
    this.from = from;
    this.to = to;
    const divisor = gcd(from, to);
    this.up = to / divisor;
    this.scale = Math.max(1, from / to);
    this.shape = from % to === 0 ? WHOLE : OTHER;
    this.half = Math.ceil(this.shape.reach * this.scale);
    this.phases = Math.min(this.up, MOST_PHASES);
    this.taps = from === to ? null : this.makeTaps();
    this.held = new Float32Array(this.half); // silence before the beginning
    this.first = -this.half; // number of the first held sample
    this.nIn = this.nOut = 0;
  }

  /** Taps [phase][tap] of the samples about floor(position); one phase more, for positions that are rounded up. */
  makeTaps() {
    const width = 2 * this.half;
    const { edge, beta, reach } = this.shape;
    const cutoff = edge / this.scale;
    const taps = new Float64Array((this.phases + 1) * width);
    const top = bessel(beta);
    for (let phase = 0; phase <= this.phases; phase++) {
      for (let i = 0; i < width; i++) {
        const t = i - this.half + 1 - phase / this.phases;
        const u = t / (reach * this.scale);
        const window = Math.abs(u) < 1 ? bessel(beta * Math.sqrt(1 - u * u)) / top : 0;
        const x = Math.PI * cutoff * t;
        taps[phase * width + i] = window * (x === 0 ? cutoff : (cutoff * Math.sin(x)) / x);
      }
      const row = taps.subarray(phase * width, (phase + 1) * width);
      const sum = row.reduce((a, b) => a + b, 0);
      for (let i = 0; i < width; i++) row[i] /= sum; // a constant stays what it is
    }
    return taps;
  }

  push(samples) {
    this.nIn += samples.length;
    return this.taps ? this.run(samples, Infinity) : ((this.nOut += samples.length), samples);
  }

  flush() {
    if (!this.taps) return new Float32Array(0);
    return this.run(new Float32Array(2 * this.half), Math.floor((this.nIn * this.to) / this.from + 0.5));
  }

  run(samples, most) {
    const held = new Float32Array(this.held.length + samples.length);
    held.set(this.held);
    held.set(samples, this.held.length);
    const end = this.first + held.length;
    const found = [];
    const [width, exact] = [2 * this.half, this.phases === this.up];
    for (; this.nOut < most; this.nOut++) {
      // position nOut * from / to, as whole samples and a fraction of this.up
      const whole = Math.floor((this.nOut * this.from) / this.to);
      if (whole + this.half >= end) break;
      const part = ((this.nOut * this.from) % this.to) / this.to;
      const phase = exact ? Math.round(part * this.up) : Math.round(part * this.phases);
      const start = whole - this.half + 1 - this.first;
      let [sum, row] = [0, phase * width];
      for (let i = 0; i < width; i++) sum += held[start + i] * this.taps[row + i];
      found.push(sum);
    }
    const keep = Math.max(0, Math.floor((this.nOut * this.from) / this.to) - this.half + 1 - this.first);
    this.held = held.slice(Math.min(keep, held.length));
    this.first += Math.min(keep, held.length);
    return Float32Array.from(found);
  }
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}

/** The modified Bessel function of order zero. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / 2 / k) ** 2;
    sum += term;
  }
  return sum;
}
