// Two engines behind one surface: the model in a Worker of this page, or the service that the page came from.
//   open() -> facts
//   predict(recording, listen) -> result; listen.segments(segments, live) and listen.progress(share) as they come
//   live(rate, listen) -> {push(channels), finish() -> result}
// A result is {posterior, unfamiliarity, unknown, threshold, notes, durationS, rate}; errors are an Error with one line.

import { statedRate } from "./wav.js";

const LONGEST_DECODED_S = 3600; // of a compressed file, which the browser decodes at once into memory

export function makeEngine(kind) {
  return kind === "service" ? new ServiceEngine() : new LocalEngine();
}

class LocalEngine {
  constructor() {
    this.calls = new Map();
    this.listeners = new Map();
    this.nCalls = 0;
  }

  async open() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => this.fail(event.message || "the engine did not start; is a file of the page missing?");
    this.facts = await this.call("load");
    return this.facts;
  }

  receive(data) {
    const listener = this.listeners.get(data.id);
    if (data.kind === "segments") listener?.segments(data.segments, data.live);
    if (data.kind === "progress") listener?.progress(data.share);
    const call = this.calls.get(data.call);
    this.calls.delete(data.call);
    if (data.kind === "done") call?.resolve(data.value);
    if (data.kind === "failed") call?.reject(new Error(data.message));
  }

  fail(message) {
    for (const { reject } of this.calls.values()) reject(new Error(message));
    this.calls.clear();
  }

  call(task, values = {}, transfer = []) {
    const call = ++this.nCalls;
    return new Promise((resolve, reject) => {
      this.calls.set(call, { resolve, reject });
      this.worker.postMessage({ task, call, ...values }, transfer);
    });
  }

  async predict({ id, file }, listen) {
    this.listeners.set(id, listen);
    try {
      let result = await this.call("predict", { id, file });
      if (result.needsDecoding) {
        const { rate, channels } = await decodeFile(file, this.facts.sampleRate);
        result = await this.call("predict", { id, rate, channels }, channels.map((samples) => samples.buffer));
      }
      return result;
    } finally {
      this.listeners.delete(id);
    }
  }

  cancel(id) {
    this.worker.postMessage({ task: "cancel", id });
  }

  async live(id, rate, listen) {
    this.listeners.set(id, listen);
    await this.call("begin", { id, rate });
    return {
      push: (channels) => void this.call("push", { id, channels }).catch(listen.failed),
      finish: () => this.call("finish", { id }).finally(() => this.listeners.delete(id)),
    };
  }

  /** Nobody but the graph draws attention here. */
  async explain() {
    return null;
  }
}

class ServiceEngine {
  remote = true;

  async open() {
    const facts = await this.ask("GET", "v1/model");
    this.facts = {
      scenes: facts.scenes,
      sampleRate: facts.sample_rate,
      segmentS: facts.segment_s,
      head: facts.head,
      temperature: facts.temperature[facts.head],
      prior: facts.prior?.[facts.head] ?? facts.scenes.map(() => 1 / facts.scenes.length),
      threshold: facts.unknown_threshold,
      members: [],
      digest: facts.sha256,
    };
    return this.facts;
  }

  async ask(method, path, body, signal) {
    let response;
    try {
      response = await fetch(new URL(path, document.baseURI), { method, body, signal });
    } catch {
      throw new Error("the service does not answer; is it still running?");
    }
    const content = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(content.error ?? `the service answered with status ${response.status}`);
    return content;
  }

  async predict({ file, name }, listen) {
    listen.progress(null);
    const found = await this.ask("POST", `v1/predict?segments=true&name=${encodeURIComponent(name)}`, file);
    const segments = found.segments.map(({ start_s, end_s, posterior }) => ({
      startS: start_s,
      endS: end_s,
      silent: false,
      posterior: this.row(posterior),
      members: [],
    }));
    listen.segments(segments, null);
    return this.result(found, found.duration_s);
  }

  result(found, durationS) {
    return {
      posterior: this.row(found.posterior),
      unfamiliarity: found.unfamiliarity,
      threshold: found.unfamiliarity_threshold ?? this.facts.threshold,
      unknown: found.unknown,
      notes: found.notes ?? [],
      durationS,
      rate: null,
    };
  }

  row(posterior) {
    return this.facts.scenes.map((scene) => posterior[scene]);
  }

  cancel() {}

  async live(id, rate, listen) {
    const url = new URL(`v1/stream?rate=${rate}&format=f32`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    let last = null;
    const ended = new Promise((resolve) => (socket.onclose = resolve));
    socket.onmessage = ({ data }) => {
      const update = JSON.parse(data);
      if (update.error) return listen.failed(new Error(update.error));
      last = update;
      const posterior = update.segment_posterior && this.row(update.segment_posterior);
      const segment = { startS: update.start_s, endS: update.end_s, silent: update.silent, posterior, members: [] };
      const live = update.posterior && { ...update, posterior: this.row(update.posterior) };
      listen.segments([segment], live);
    };
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("the service does not take a stream; are too many open?"));
    });
    return {
      push: (channels) => socket.send(monoOf(channels)),
      finish: async () => {
        socket.send(JSON.stringify({ end: true }));
        await ended;
        if (!last?.posterior) throw new Error("no segment was classified; was the microphone muted?");
        return this.result(last, last.end_s);
      },
    };
  }

  /** A picture of the attention and more, drawn by the service. */
  async explain({ file }) {
    const response = await fetch(new URL("v1/explain?format=svg", document.baseURI), { method: "POST", body: file });
    return response.ok ? URL.createObjectURL(await response.blob()) : null;
  }
}

function monoOf(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, samples) => sum + samples[i], 0) / channels.length);
}

/** Decode by the browser, at the rate that the file states; throws an Error with one line. */
export async function decodeFile(file, modelRate) {
  const duration = await statedDuration(file);
  if (duration > LONGEST_DECODED_S) {
    const hours = (duration / 3600).toFixed(1);
    throw new Error(`lasts ${hours} h, and a browser decodes one hour at most; WAV files are read at any length, as is all by \`soundscene predict\``);
  }
  const content = await file.arrayBuffer();
  if (!content.byteLength) throw new Error("is empty; was the copy interrupted?");
  const rate = statedRate(content) ?? modelRate;
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
  } catch {
    throw new Error("is no sound that this browser can decode; WAV, FLAC, MP3, OGG and M4A are usual");
  }
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i).slice());
  return { rate: decoded.sampleRate, channels };
}

/** Seconds as the player reads them, without decoding; 0 where it cannot tell. */
function statedDuration(file) {
  return new Promise((resolve) => {
    const player = new Audio();
    const url = URL.createObjectURL(file);
    const end = (seconds) => {
      URL.revokeObjectURL(url);
      resolve(Number.isFinite(seconds) ? seconds : 0);
    };
    player.preload = "metadata";
    player.onloadedmetadata = () => end(player.duration);
    player.onerror = () => end(0);
    setTimeout(() => end(0), 3000);
    player.src = url;
  });
}
