// Two engines behind one surface: the model in a Worker of this page, or the service that the page came from.
//   open() -> facts
//   predict(recording, listen) -> result; listen.segments(segments, live) and listen.progress(share) as they come
//   live(id, rate, listen) -> {push(channels), finish(file) -> result}
// A result is {posterior, unfamiliarity, unknown, threshold, notes, durationS, rate}; errors are an Error with one line.

import { decodeFile } from "./decode.js";
import { ServiceEngine } from "./service.js";

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

}
