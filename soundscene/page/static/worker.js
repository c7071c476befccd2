// The model in a Worker: ONNX Runtime computes the exported graph block by block, so a recording of any length takes little
// memory, and the page stays responsive. Sound goes in, predictions come out, nothing is sent anywhere.

import * as ort from "./engine/ort.wasm.bundle.min.mjs";
import { factsOf } from "./facts.js";
import { Intake } from "./intake.js";
import { join } from "./mix.js";
import { fuse } from "./numbers.js";
import { FEATURES, Pictures } from "./pictures.js";
import { openWav } from "./wav.js";

const AT_ONCE = 8; // segments computed together of a file
const WINDOW_S = 30; // that a live prediction looks back
const BLOCK_S = 4; // read at a time
const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array };
const STEP_DB = 0.6; // of a byte of the pictures
const DB = 10 / Math.log(10); // of a natural logarithm
const LOWEST_DB = -100; // that a byte of zero stands for
const AFTER_SILENCE =
  "sound follows digital silence, where soundscene 0.1, which trained this model, computed other images: its prediction may " +
  "differ; retrain the model";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./engine/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.logLevel = "error";

let facts = null;
let session = null;
let outputs = [];
const tracks = new Map();
const cancelled = new Set();
let running = Promise.resolve(); // one block at a time is computed, of whichever track

function compute(inputs) {
  const found = running.then(() => session.run(inputs, outputs));
  running = found.catch(() => {});
  return found;
}

/** One recording on its way through the graph: push channels, finish. */
class Track {
  constructor(id, rate, live, holdsFloat) {
    Object.assign(this, { id, live, rows: [], starts: [], unfamiliar: [], nSilent: 0, nFed: 0 });
    this.intake = new Intake(rate, facts, holdsFloat);
    this.state = initialState();
    this.held = [];
    this.nHeld = 0;
    // of a model whose first member is a backbone, which reads no images of ours
    this.pictures = facts.drawn ? null : new Pictures(facts.sampleRate, facts.sampleRate / 2);
    this.missing = facts.segmentSamples;
    this.hold = live ? 0 : AT_ONCE * facts.segmentSamples;
  }

  async push(channels) {
    this.add(this.intake.push(channels));
    if (this.nHeld >= Math.max(this.hold, this.missing)) await this.run(false);
  }

  add(samples) {
    this.held.push(samples);
    this.pictures?.push(samples);
    this.nHeld += samples.length;
    this.nFed += samples.length;
  }

  async run(last) {
    const samples = join([new Float32Array(0), ...this.held]);
    [this.held, this.nHeld] = [[], 0];
    const found = await compute({
      samples: new ort.Tensor("float32", samples, [samples.length]),
      last: new ort.Tensor("bool", [last], []),
      hop: new ort.Tensor("int64", [BigInt(facts.segmentSamples)], []),
      ...this.state,
    });
    for (const name of Object.keys(this.state)) this.state[name] = found[name.replace("state_", "next_")];
    const following = Number(this.state.state_counts.data[4]);
    this.missing = Math.max(1, following + facts.segmentSamples - this.nFed);
    this.report(found);
  }

  /** Keep what the recording's posterior needs, and send the segments to the page. */
  report(found) {
    const n = found.start_s.data.length;
    const scores = found[`log_posterior_${facts.head}`].data;
    const nScenes = facts.scenes.length;
    const segments = [];
    for (let i = 0; i < n; i++) {
      const startS = found.start_s.data[i];
      const segment = { startS, endS: startS + facts.segmentS, silent: Boolean(found.silent.data[i]), members: [] };
      if (segment.silent) this.nSilent++;
      else {
        const row = Float64Array.from(scores.slice(i * nScenes, (i + 1) * nScenes));
        if (row.some(Number.isNaN)) throw new Error("the model computes no finite posterior; retrain the model");
        segment.posterior = row.map(Math.exp);
        this.rows.push(row);
        this.starts.push(startS);
        if (facts.familiar) this.unfamiliar.push(found.unfamiliarity.data[i]);
      }
      if (this.pictures) segment.members.push(this.pictures.take(segment.startS, segment.endS));
      else for (const { name } of facts.members) if (found[`images/${name}`]) segment.members.push(pictureOf(found, name, i));
      segments.push(segment);
    }
    if (n) postMessage({ kind: "segments", id: this.id, segments, live: this.live ? this.now() : null });
  }

  /** The prediction over the last seconds, as `soundscene listen` gives it. */
  now() {
    const end = this.nFed / facts.sampleRate;
    let first = 0;
    while (first < this.starts.length && this.starts[first] < end - WINDOW_S) first++;
    return this.summary(this.rows.slice(first), this.unfamiliar.slice(first));
  }

  summary(rows, unfamiliar) {
    if (!rows.length) return null;
    const unfamiliarity = facts.familiar ? unfamiliar.reduce((sum, value) => sum + value, 0) / rows.length : null;
    const unknown = unfamiliarity !== null && facts.threshold !== null && unfamiliarity > facts.threshold;
    return { posterior: fuse(rows, facts.scenes.length, facts.temperature), unfamiliarity, unknown };
  }

  async finish() {
    this.add(this.intake.flush());
    await this.run(true);
    const summary = this.summary(this.rows, this.unfamiliar);
    if (!summary) throw new Error("every segment is digital silence; was the microphone connected?");
    const notes = this.intake.notes();
    if (this.nSilent) notes.push(`${this.nSilent} segment${this.nSilent === 1 ? "" : "s"} of digital silence did not vote`);
    if (facts.trainedWith < 2 && this.state.state_counts.data[2]) notes.push(AFTER_SILENCE);
    const { durationS, rate } = this.intake;
    return { ...summary, threshold: facts.threshold, notes, durationS, rate };
  }
}

function initialState() {
  const state = {};
  for (const { name, type, shape } of session.inputMetadata) {
    if (!name.startsWith("state_")) continue;
    const sizes = shape.map((size) => (typeof size === "number" ? size : 0));
    state[name] = new ort.Tensor(type, new ARRAYS[type](sizes.reduce((a, b) => a * b, 1)), sizes);
  }
  return state;
}

/** What the page draws of a segment: both channels of its image in bytes [channel][band][frame], and the attention. */
function pictureOf(found, member, i) {
  const image = found[`images/${member}`];
  const [, , bands, frames] = image.dims;
  const size = 2 * bands * frames;
  const bytes = new Uint8Array(size);
  for (let k = 0; k < size; k++) {
    bytes[k] = Math.min(255, Math.max(0, (image.data[i * size + k] * DB - LOWEST_DB) / STEP_DB));
  }
  const part = (name) => {
    const tensor = found[`${name}/${member}`];
    const width = tensor?.dims[1];
    return tensor ? Float32Array.from(tensor.data.slice(i * width, (i + 1) * width)) : null;
  };
  return { bands, frames, bytes, temporal: part("temporal_attention"), spatial: part("spatial_attention") };
}

async function load() {
  const response = await fetch(new URL("./model.onnx", import.meta.url));
  if (!response.ok) throw new Error(`the model file model.onnx cannot be fetched (status ${response.status})`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  facts = factsOf(bytes);
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all", logSeverityLevel: 3 });
  const embeddings = session.outputNames.filter((name) => name.startsWith("embedding/"));
  outputs = session.outputNames.filter((name) => !embeddings.includes(name));
  facts.drawn = outputs.includes(`images/${facts.members[0].name}`);
  if (!facts.drawn) facts.members[0].features = FEATURES;
  return facts;
}

/** A file: WAV is read here piece by piece, anything else has been decoded by the page. */
async function predictFile({ id, file, rate, channels }) {
  const wav = file && (await openWav(file));
  if (file && !wav) return { needsDecoding: true };
  const track = new Track(id, wav ? wav.rate : rate, false, Boolean(wav?.float));
  const total = wav ? wav.frames : channels[0].length;
  let done = 0;
  for await (const block of wav ? wav.blocks(BLOCK_S * wav.rate) : pieces(channels, BLOCK_S * rate)) {
    if (cancelled.delete(id)) return { cancelled: true };
    await track.push(block);
    done += block[0].length;
    postMessage({ kind: "progress", id, share: done / total });
  }
  const result = await track.finish();
  if (wav && wav.promised > wav.frames) {
    const [has, says] = [wav.frames / wav.rate, wav.promised / wav.rate].map((s) => s.toFixed(2));
    result.notes.unshift(`ends after ${has} s, its header says ${says} s: was the recording or a copy interrupted?`);
  }
  return result;
}

function* pieces(channels, n) {
  for (let at = 0; at < channels[0].length; at += n) yield channels.map((samples) => samples.subarray(at, at + n));
}

const tasks = {
  load,
  predict: predictFile,
  begin: ({ id, rate }) => void tracks.set(id, new Track(id, rate, true, false)),
  push: ({ id, channels }) => tracks.get(id)?.push(channels),
  finish: async ({ id }) => {
    const track = tracks.get(id);
    tracks.delete(id);
    return track.finish();
  },
};

const turns = new Map(); // the messages of a recording, in their order

addEventListener("message", ({ data }) => {
  if (data.task === "cancel") {
    cancelled.add(data.id);
    return;
  }
  const answer = async () => {
    try {
      postMessage({ kind: "done", call: data.call, value: await tasks[data.task](data) });
    } catch (error) {
      postMessage({ kind: "failed", call: data.call, message: error?.message ?? String(error) });
    }
  };
  turns.set(data.id, (turns.get(data.id) ?? Promise.resolve()).then(answer));
});
