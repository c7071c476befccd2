// What a recording is like as a signal: bandwidth, level, and how far it stands above its floor. The same sums as
// soundscene/signal/meter.py; docs/decisions/0097-notes-by-what-is-measured.md says why.

const N_FFT = 2048;
const FRAMES = 10; // of a piece of half a second
const [STEP_DB, LOWEST_DB, HIGHEST_DB] = [0.5, -160, 240];
const FLOOR = 0.1; // share of the frames below the floor
const [LOW_HZ, FIRST_HZ, SMOOTH_HZ] = [600, 1800, 150];
const [TRANSITION, DROP_DB, FULL] = [0.15, 15, 0.88];
const SILENT = 10 ** (LOWEST_DB / 10);
const [ROUNDING, TINY] = [1e-6, 1e-30];
const MIRROR_RATES_HZ = [8000, 11025, 12000, 16000, 22050, 24000, 32000];
const [MIRROR_HZ, FINE, MIRRORED, NOT_ELSEWHERE] = [1200, 4, 0.6, 0.3];

export class RangeMeter {
  constructor(rate) {
    this.rate = rate;
    this.frame = Math.max(1, roundEven((0.5 * rate) / FRAMES));
    this.piece = Math.max(FRAMES * this.frame, N_FFT);
    this.held = new Float32Array(this.piece);
    this.n = 0;
    this.levels = new Float64Array(Math.round((HIGHEST_DB - LOWEST_DB) / STEP_DB));
    this.power = this.nFrames = 0;
    this.spectrum = new Float64Array(N_FFT / 2 + 1);
    this.window = Float64Array.from({ length: N_FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / N_FFT));
  }

  push(samples) {
    for (let at = 0; at < samples.length; ) {
      const taken = Math.min(samples.length - at, this.piece - this.n);
      this.held.set(samples.subarray(at, at + taken), this.n);
      this.n += taken;
      at += taken;
      if (this.n === this.piece) {
        this.measure(this.held);
        this.n = 0;
      }
    }
  }

  measure(piece) {
    let [loudest, most, heard, total] = [0, -1, false, 0];
    for (let f = 0; f < FRAMES; f++) {
      let [squares, sum] = [0, 0];
      for (let i = f * this.frame; i < (f + 1) * this.frame; i++) {
        squares += piece[i] * piece[i];
        sum += piece[i];
      }
      const offset = (sum / this.frame) ** 2;
      let power = squares / this.frame - offset; // a constant is no sound
      if (power > SILENT + ROUNDING * offset) {
        const level = Math.trunc((10 * Math.log10(power) - LOWEST_DB) / STEP_DB);
        this.levels[Math.min(level, this.levels.length - 1)]++;
        this.nFrames++;
        heard = true;
      } else power = 0;
      total += power;
      if (power > most) [most, loudest] = [power, f];
    }
    this.power += total;
    if (heard) this.addSpectrum(piece, loudest);
  }

  /** Add the power spectrum about the loudest frame. */
  addSpectrum(piece, loudest) {
    const middle = loudest * this.frame + Math.floor(this.frame / 2) - N_FFT / 2;
    const first = Math.min(Math.max(middle, 0), this.piece - N_FFT);
    const [re, im] = [new Float64Array(N_FFT), new Float64Array(N_FFT)];
    for (let i = 0; i < N_FFT; i++) re[i] = piece[first + i] * this.window[i];
    fft(re, im);
    for (let k = 0; k <= N_FFT / 2; k++) this.spectrum[k] += re[k] * re[k] + im[k] * im[k];
  }

  /** {bandwidthHz, levelDb, aboveFloorDb}; null if nothing but digital silence has been heard. */
  measures() {
    if (!this.nFrames) return null;
    const level = 10 * Math.log10(this.power / this.nFrames);
    let [below, sum] = [0, 0];
    while (below < this.levels.length && (sum += this.levels[below]) <= FLOOR * this.nFrames) below++;
    const floor = LOWEST_DB + (below + 0.5) * STEP_DB;
    const edges = [findEdge(this.spectrum, this.rate), findMirror(this.spectrum, this.rate)].filter((edge) => edge !== null);
    return {
      bandwidthHz: edges.length ? Math.min(...edges) : this.rate / 2,
      levelDb: level,
      aboveFloorDb: Math.max(0, level - floor),
    };
  }
}

/** Python's round(): halves go to the even number. */
export function roundEven(value) {
  const whole = Math.floor(value);
  if (value - whole !== 0.5) return Math.round(value);
  return whole % 2 ? whole + 1 : whole;
}

/** In place, of a power of two. */
export function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const [x, y] = [re[b] * c - im[b] * s, re[b] * s + im[b] * c];
        [re[b], im[b]] = [re[a] - x, im[a] - y];
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

function smooth(values, half) {
  const total = new Float64Array(values.length + 1);
  for (let i = 0; i < values.length; i++) total[i + 1] = total[i] + values[i];
  return values.map((_, i) => {
    const [first, stop] = [Math.max(i - half, 0), Math.min(i + half + 1, values.length)];
    return (total[stop] - total[first]) / (stop - first);
  });
}

export function findEdge(power, rate) {
  const stepHz = rate / 2 / (power.length - 1);
  const half = Math.floor(roundEven(SMOOTH_HZ / stepHz) / 2);
  const level = smooth(power, half).map((value) => 10 * Math.log10(Math.max(value, TINY)));
  const [low, first] = [roundEven(LOW_HZ / stepHz), roundEven(FIRST_HZ / stepHz)];
  const last = roundEven(FULL * (power.length - 1));
  if (last <= first) return null;
  const [least, most] = [new Float64Array(last), new Float64Array(last)];
  for (let i = low; i < last; i++) least[i] = i > low ? Math.min(least[i - 1], level[i]) : level[i];
  for (let i = last - 1; i >= 0; i--) most[i] = i < last - 1 ? Math.max(most[i + 1], level[i]) : level[i];
  let [best, drop, under] = [-1, -Infinity, 0];
  for (let at = first; at < last; at++) {
    const beneath = Math.max(roundEven((1 - TRANSITION) * at), low);
    if (least[beneath] - most[at] > drop) [best, drop, under] = [at, least[beneath] - most[at], beneath];
  }
  if (drop < DROP_DB) return null;
  let edge = best;
  while (edge > low && level[edge] < least[under] - DROP_DB) edge--;
  return edge * stepHz;
}

export function findMirror(power, rate) {
  const stepHz = rate / 2 / (power.length - 1);
  const reach = roundEven(MIRROR_HZ / stepHz);
  const level = power.map((value) => 10 * Math.log10(value + TINY));
  const around = smooth(level, FINE);
  const fine = level.map((value, i) => value - around[i]);
  const far = [];
  for (let i = Math.floor((-2 * reach) / 3); i < Math.floor((2 * reach) / 3); i++) if (Math.abs(i) > 6) far.push(i);
  for (const old of MIRROR_RATES_HZ) {
    const centre = roundEven(old / stepHz);
    const inside = Math.floor(centre / 2) >= 2 * reach && old <= FULL * rate;
    if (!inside || Math.floor((centre + 1) / 2) + 2 * reach >= power.length) continue;
    const at = Math.max(...[-1, 0, 1].map((i) => mirrored(fine, centre + i, reach)));
    if (at < MIRRORED) continue;
    const elsewhere = Math.max(...far.map((i) => mirrored(fine, centre + i, reach)));
    if (at > elsewhere + NOT_ELSEWHERE) return old / 2;
  }
  return null;
}

/** Correlation of a spectrum with its mirror image about bin total / 2. */
function mirrored(fine, total, reach) {
  const half = Math.floor(total / 2);
  let [a, b, n] = [0, 0, 0];
  for (let i = half + 5; i < half + reach; i++, n++) {
    a += fine[i];
    b += fine[total - i];
  }
  [a, b] = [a / n, b / n];
  let [aa, bb, ab] = [0, 0, 0];
  for (let i = half + 5; i < half + reach; i++) {
    const [x, y] = [fine[i] - a, fine[total - i] - b];
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  const size = Math.sqrt(aa * bb);
  return size > 0 ? ab / size : 0;
}
