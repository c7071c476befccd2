// Channels to mono, dead ones left out: the rules of soundscene/audio/evidence.py, sample by sample the same.

const DEAD_RANGE = 1.3e-4; // peak to peak: four steps of 16 bits
const LOUDER = 10; // times, by which another channel has the higher RMS
const WEAK_RMS = 4e-5; // -88 dB of full scale
const LOOK_AHEAD_S = 2;
const MOST_WAITING = 1 << 22;
const CANCELLED = 0.1; // power of the mix, of the channels' mean power; uncorrelated channels have 0.5

export class Mixer {
  constructor(rate) {
    this.wait = Math.round(LOOK_AHEAD_S * rate);
    this.waiting = [];
    this.dead = new Map(); // channels that do not count, and what they rest at
    this.noted = [];
    this.n = 0;
    this.channelPower = this.mixPower = 0;
  }

  /** Mono samples that are known: none for the first two seconds where a channel may be dead. */
  push(channels) {
    if (channels.length === 1 && !this.waiting?.length) return channels[0];
    if (!this.waiting) return this.mix(channels);
    if (!this.waiting.length && channels.every((samples) => range(samples) >= DEAD_RANGE)) {
      this.waiting = null;
      return this.mix(channels);
    }
    this.waiting.push(channels);
    this.wait = Math.min(this.wait, Math.max(1, Math.floor(MOST_WAITING / channels.length)));
    const n = this.waiting.reduce((sum, block) => sum + block[0].length, 0);
    return n >= this.wait ? this.flush() : new Float32Array(0);
  }

  flush() {
    const waiting = this.waiting;
    this.waiting = null;
    if (!waiting?.length) return new Float32Array(0);
    const channels = waiting[0].map((_, i) => join(waiting.map((block) => block[i])));
    this.findDead(channels.map((samples) => samples.subarray(0, this.wait)));
    return this.mix(channels);
  }

  findDead(channels) {
    const rms = channels.map(deviation);
    const loudest = Math.max(...rms);
    channels.forEach((samples, i) => {
      const dead = range(samples) < DEAD_RANGE && rms[i] * LOUDER <= loudest && loudest > WEAK_RMS;
      if (dead) this.dead.set(i, median(samples));
    });
    this.noted = [...this.dead.keys()];
    this.n = channels.length;
  }

  mix(channels) {
    if (this.n !== channels.length) {
      this.dead.clear();
      this.n = channels.length;
    }
    const pieces = [];
    for (let at = 0; at < channels[0].length; ) {
      const [end, back] = this.untilAlive(channels, at);
      const counted = channels.filter((_, i) => !this.dead.has(i)).map((samples) => samples.subarray(at, end));
      pieces.push(mean(counted));
      if (back >= 0) this.dead.delete(back);
      at = end;
    }
    const mono = join(pieces);
    this.measure(channels.filter((_, i) => !this.dead.has(i)), mono);
    return mono;
  }

  untilAlive(channels, at) {
    let [end, back] = [channels[0].length, -1];
    for (const [channel, rest] of this.dead) {
      for (let i = at; i < end; i++) {
        if (Math.abs(channels[channel][i] - rest) > DEAD_RANGE) [end, back] = [i, channel];
      }
    }
    return [end, back];
  }

  measure(counted, mono) {
    const power = (samples) => samples.reduce((sum, value) => sum + value * value, 0);
    this.channelPower += counted.reduce((sum, samples) => sum + power(samples), 0) / counted.length;
    this.mixPower += power(mono);
  }

  notes() {
    const notes = [];
    if (this.noted.length) {
      const which = this.noted.map((channel) => channel + 1).join(", ");
      notes.push(`channel ${which} of ${this.n} holds no signal and is left out of the mix to mono`);
    }
    const n = this.n - this.noted.length;
    if (n > 1 && this.mixPower < ((CANCELLED * 2) / n) * this.channelPower) {
      const loss = this.mixPower ? (10 * Math.log10(this.channelPower / this.mixPower)).toFixed(0) : "inf";
      notes.push(`its channels cancel each other when mixed to mono (by ${loss} dB); is the polarity of one inverted?`);
    }
    return notes;
  }
}

function mean(channels) {
  if (channels.length === 1) return channels[0];
  const mono = new Float32Array(channels[0].length);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (const samples of channels) sum += samples[i];
    mono[i] = sum / channels.length;
  }
  return mono;
}

function range(samples) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of samples) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return samples.length ? high - low : 0;
}

function median(samples) {
  const sorted = samples.slice().sort();
  const middle = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function deviation(samples) {
  const average = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  return Math.sqrt(samples.reduce((sum, value) => sum + (value - average) ** 2, 0) / samples.length);
}

export function join(pieces) {
  if (pieces.length === 1) return pieces[0];
  const joined = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
