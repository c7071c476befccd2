// From the channels of a recording to mono samples at the model's rate, with the checks and notes of soundscene/audio/gate.py,
// audio/evidence.py and signal/ranges.py. Errors are an Error with one line.

import { RangeMeter } from "./meter.js";
import { join, Mixer } from "./mix.js";
import { general } from "./numbers.js";
import { Resampler } from "./resample.js";

const [LOWEST_HZ, HIGHEST_HZ, LOUDEST, UNSCALED] = [1000, 768000, 1e10, 8];
const MUCH_SILENCE = 0.5; // share of a recording from which on digital silence is noted
const [WEAK_RMS, FEW, FEW_RANGE, HEAD] = [4e-5, 4, 0.0235, 256];
const MUCH = 0.9;
const [SLACK_DB, SLACK_HZ, FULL, FEW_RECORDINGS] = [3, 0.97, 0.88, 10];

export class Intake {
  /** `facts` of the model; `holdsFloat`: whether the source stores floating point, so that samples beyond 1 are no overshoot. */
  constructor(rate, facts, holdsFloat = false) {
    if (!(rate >= LOWEST_HZ && rate <= HIGHEST_HZ)) {
      throw new Error(`a sample rate of ${rate} Hz is not plausible, allowed are ${LOWEST_HZ} to ${HIGHEST_HZ} Hz; is the header damaged?`);
    }
    Object.assign(this, { rate, facts, holdsFloat, peak: 0, nReceived: 0, nIn: 0, nOut: 0, nSilent: 0, nLeading: 0 });
    this.mixer = new Mixer(rate);
    this.resampler = new Resampler(rate, facts.sampleRate);
    this.meter = facts.usual ? new RangeMeter(facts.sampleRate) : null;
    this.piece = Math.max(1, Math.floor(rate / 10)); // silence is judged by 0.1 s: quiet 16-bit sound has single zeros
    this.waiting = new Float32Array(0);
    this.weak = { n: 0, power: 0, range: 0 };
  }

  get durationS() {
    return this.nIn / this.rate;
  }

  /** Samples [channel][sample] -> mono samples at the model's rate that are ready. */
  push(channels) {
    channels.forEach((samples, channel) => {
      for (let i = 0; i < samples.length; i++) {
        if (!(Math.abs(samples[i]) <= this.peak)) this.raise(samples[i], i, channel);
      }
    });
    this.nReceived += channels[0].length;
    return this.accept(this.mixer.push(channels));
  }

  flush() {
    const mixed = this.accept(this.mixer.flush());
    if (!this.waiting.some(Boolean)) this.nSilent += this.waiting.length;
    if (!this.nIn) throw new Error("holds no samples; was the recording or the export interrupted?");
    if (this.nLeading === this.nIn) throw new Error(this.whySilent());
    const rest = this.measured(this.resampler.flush());
    this.nOut += rest.length;
    if (this.nOut < this.facts.segmentSamples) {
      const needed = this.facts.segmentS.toFixed(3);
      throw new Error(`lasts ${this.durationS.toFixed(3)} s, the model needs at least one segment of ${needed} s`);
    }
    return join([mixed, rest]);
  }

  accept(mono) {
    this.judgeSilence(mono);
    this.nIn += mono.length;
    const ready = this.measured(this.resampler.push(mono));
    this.nOut += ready.length;
    return ready;
  }

  measured(samples) {
    this.meter?.push(samples);
    return samples;
  }

  raise(value, i, channel) {
    const place = `at ${((this.nReceived + i) / this.rate).toFixed(3)} s (channel ${channel + 1})`;
    if (!Number.isFinite(value)) {
      const name = { NaN: "nan", Infinity: "inf" }[value] ?? "-inf";
      throw new Error(`holds ${name} ${place}, samples must be finite; did the program that wrote it divide by zero?`);
    }
    if (Math.abs(value) > LOUDEST) throw new Error(`holds ${general(value)} ${place}; samples are expected within -1 to 1`);
    this.peak = Math.abs(value);
  }

  judgeSilence(mono) {
    if (this.nLeading === this.nIn) {
      const first = mono.findIndex((value) => value !== 0);
      this.nLeading += first < 0 ? mono.length : first;
    }
    const all = join([this.waiting, mono]);
    const whole = Math.floor(all.length / this.piece) * this.piece;
    for (let at = 0; at < whole; at += this.piece) this.judgePiece(all.subarray(at, at + this.piece));
    this.waiting = all.slice(whole);
  }

  /** Digital silence, or a piece that holds hardly any signal: weak about its mean, or of a few levels only. */
  judgePiece(values) {
    let [low, high, sum] = [Infinity, -Infinity, 0];
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
      sum += value;
    }
    if (low === 0 && high === 0) this.nSilent += values.length;
    if ((low === 0 && high === 0) || high - low > FEW_RANGE) return;
    const mean = sum / values.length;
    const power = values.reduce((total, value) => total + (value - mean) ** 2, 0) / values.length;
    if (power > WEAK_RMS ** 2 && new Set(values.subarray(0, HEAD)).size > FEW) return;
    this.weak.n += values.length;
    this.weak.power += power * values.length;
    this.weak.range = Math.max(this.weak.range, high - low);
  }

  whySilent() {
    if (this.peak) return "its channels cancel each other when mixed to mono; is the polarity of one inverted?";
    return `digital silence: all ${this.nIn} samples are exactly zero; was the microphone muted, or the wrong input recorded?`;
  }

  notes() {
    const rateNotes = this.rateNotes();
    const notes = [...rateNotes];
    if (this.nSilent > MUCH_SILENCE * this.nIn) {
      const [share, lead] = [((100 * this.nSilent) / this.nIn).toFixed(0), (this.nLeading / this.rate).toFixed(2)];
      notes.push(`${share}% is digital silence (samples exactly zero), of it ${lead} s at the start`);
    }
    notes.push(...this.mixer.notes(), ...this.weakNotes());
    if (this.holdsFloat && this.peak > 1) {
      const cause = this.peak > UNSCALED ? "; were integers converted without scaling?" : ", left unchanged";
      notes.push(`peak ${general(this.peak, 4)}, samples are expected within -1 to 1${cause}`);
    }
    return withRange(this.facts, this.meter?.measures(), notes, rateNotes, this.rate);
  }

  rateNotes() {
    const [top, edge] = [this.facts.sampleRate / 2, this.rate / 2];
    if (edge >= top) return [];
    const bands = `${general(edge)} to ${general(top)} Hz`;
    return [
      `sampled at ${this.rate} Hz, below the recipe's ${this.facts.sampleRate} Hz: nothing above ${general(edge)} Hz, ` +
        `so the bands from ${bands} stay empty and the prediction may be wrong`,
    ];
  }

  weakNotes() {
    const { n, power, range } = this.weak;
    if (!n || n < MUCH * (this.nIn - this.nSilent)) return [];
    const rms = Math.sqrt(power / n);
    const level = rms ? `${(20 * Math.log10(rms)).toFixed(0)} dB of full scale` : "a constant";
    const bits = Math.log2(32768 * range + 1).toFixed(1);
    return [
      `hardly any signal (${level}, ${bits} of 16 bits in use): the prediction has nothing to go by; is the microphone ` +
        "connected, and its gain up?",
    ];
  }
}

/** Notes with those of what lies outside the training's range; a low rate is said once. As sound_notes in signal/ranges.py. */
function withRange({ usual, sampleRate }, found, notes, rateNotes, sourceHz) {
  if (!usual) return notes;
  const top = sampleRate / 2;
  const notedBelowHz = Math.min(FULL * top, SLACK_HZ * (usual.narrow_hz ?? usual.bandwidth_hz[1]));
  const isUsual = sourceHz / 2 >= SLACK_HZ * usual.bandwidth_hz[2];
  const kept = notes.filter((note) => !isUsual || !rateNotes.includes(note));
  if (!found) return kept;
  const bandwidthHz = rateNotes.length && sourceHz / 2 < notedBelowHz ? top : found.bandwidthHz;
  if (bandwidthHz < notedBelowHz) {
    const edge = (bandwidthHz / 1000).toFixed(1);
    kept.push(`nothing above ${edge} kHz, where the training's recordings have sound: a codec, or a lower rate before? the prediction may be worse`);
  }
  const bounds = (q) => {
    const slack = SLACK_DB + (FEW_RECORDINGS / usual.recordings) * (q[3] - q[1]);
    return [q[0] - slack, q[4] + slack];
  };
  const whole = (value) => value.toFixed(0);
  const [low, high] = bounds(usual.level_db);
  if (found.levelDb < low || found.levelDb > high) {
    const side = found.levelDb < low ? "below" : "above";
    const range = `${whole(usual.level_db[0])} to ${whole(usual.level_db[4])}`;
    kept.push(
      `level ${whole(found.levelDb)} dB of full scale, ${side} the training's ${range} dB: is the gain right? the prediction may be worse`,
    );
  }
  const [least, most] = bounds(usual.above_floor_db);
  if (found.aboveFloorDb < least || found.aboveFloorDb > most) {
    const range = `${whole(usual.above_floor_db[0])} to ${whole(usual.above_floor_db[4])} dB in the training`;
    const cause = found.aboveFloorDb < least ? "steady noise over it" : "a noise gate, or pauses";
    kept.push(
      `level ${whole(found.aboveFloorDb)} dB over the recording's floor, ${range}: ${cause}? the prediction may be worse`,
    );
  }
  return kept;
}
