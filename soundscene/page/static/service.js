// The engine of a page that a service gives: sound is sent to that service, and nowhere else. See engine.js for the surface.

import { decodeFile } from "./decode.js";
import { FEATURES, Pictures } from "./pictures.js";
import { openWav } from "./wav.js";

const BLOCK_S = 4;
const EXPLAINED = 15; // segments in a picture of the attention

export class ServiceEngine {
  remote = true;
  token = "";

  /** The facts; throws an Error with `needsToken` where the service asks for one. */
  async open() {
    const facts = await (await this.ask("GET", "v1/model")).json();
    this.facts = {
      scenes: facts.scenes,
      sampleRate: facts.sample_rate,
      segmentS: facts.segment_s,
      temperature: facts.temperature[facts.head],
      prior: facts.prior[facts.head],
      threshold: facts.unknown_threshold,
      members: [{ name: "", features: FEATURES }],
      digest: facts.sha256,
    };
    return this.facts;
  }

  async ask(method, path, body) {
    let response;
    try {
      const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
      if (body) headers["Content-Type"] = "application/octet-stream"; // the content decides, not the type of the file
      response = await fetch(new URL(path, document.baseURI), { method, body, headers });
    } catch {
      throw new Error("the service does not answer; is it still running?");
    }
    if (response.ok) return response;
    const content = await response.json().catch(() => ({}));
    const error = new Error(content.error ?? `the service answered with status ${response.status}`);
    throw Object.assign(error, { needsToken: response.status === 401 });
  }

  async predict({ file, name }, listen) {
    listen.progress(null);
    const response = await this.ask("POST", `v1/predict?segments=true&name=${encodeURIComponent(shortName(name))}`, file);
    const found = await response.json();
    const segments = found.segments.map(({ start_s, end_s, posterior }) => ({
      startS: start_s,
      endS: end_s,
      silent: false,
      posterior: this.row(posterior),
      members: [],
    }));
    await this.draw(file, segments).catch(() => {}); // what this browser cannot decode has no picture
    listen.segments(segments, null);
    return this.result(found, found.duration_s);
  }

  /** Add a picture to each segment. */
  async draw(file, segments) {
    const wav = await openWav(file);
    const { rate, channels } = wav ?? (await decodeFile(file, this.facts.sampleRate));
    const pictures = new Pictures(rate, this.facts.sampleRate / 2);
    let [next, endS] = [0, 0];
    for await (const block of wav ? wav.blocks(BLOCK_S * rate) : pieces(channels, BLOCK_S * rate)) {
      pictures.push(monoOf(block));
      endS += block[0].length / rate;
      for (; next < segments.length && segments[next].endS + 0.1 < endS; next++) this.drawOne(pictures, segments[next]);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays responsive
    }
    for (; next < segments.length; next++) this.drawOne(pictures, segments[next]);
  }

  drawOne(pictures, segment) {
    segment.members = [pictures.take(segment.startS, segment.endS)];
  }

  result(found, durationS) {
    return {
      posterior: this.row(found.posterior),
      unfamiliarity: found.unfamiliarity,
      threshold: found.unfamiliarity_threshold ?? this.facts.threshold,
      unknown: found.unknown,
      notes: found.notes,
      durationS,
      rate: null,
    };
  }

  row(posterior) {
    return this.facts.scenes.map((scene) => posterior[scene]);
  }

  cancel() {}

  /** Live sound by a WebSocket. The result of the whole recording is asked for at its end, as of a file. */
  async live(id, rate, listen) {
    const url = new URL(`v1/stream?sample_rate=${rate}&type=f32le`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, this.token ? [`bearer.${this.token}`, "soundscene"] : ["soundscene"]);
    const pictures = new Pictures(rate, this.facts.sampleRate / 2);
    let failure = null;
    socket.onmessage = ({ data }) => {
      const update = JSON.parse(data);
      if (update.error) {
        failure = new Error(update.error);
        listen.failed(failure);
        return;
      }
      const silent = !update.segment_posterior;
      const segment = { startS: update.start_s, endS: update.end_s, silent, members: [] };
      if (!silent) segment.posterior = this.row(update.segment_posterior);
      this.drawOne(pictures, segment);
      listen.segments([segment], update.posterior && { ...update, posterior: this.row(update.posterior) });
    };
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("the service takes no stream now; are too many open?"));
    });
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    return {
      push: (channels) => {
        const mono = monoOf(channels);
        pictures.push(mono);
        if (socket.readyState === WebSocket.OPEN) socket.send(mono);
      },
      finish: async (file) => {
        if (socket.readyState === WebSocket.OPEN) socket.send("end");
        await closed;
        if (failure) throw failure;
        const response = await this.ask("POST", `v1/predict?name=${encodeURIComponent(file.name)}`, file);
        const found = await response.json();
        return this.result(found, found.duration_s);
      },
    };
  }

  /** A picture of the attention from a time on, drawn by the service; the address of an image. */
  async explain({ file, name }, fromS) {
    const query = `format=svg&segments=${EXPLAINED}&from=${fromS}&name=${encodeURIComponent(shortName(name))}`;
    const response = await this.ask("POST", `v1/explain?${query}`, file);
    return URL.createObjectURL(await response.blob());
  }
}

/** The end of a path, no longer than the service takes a name. */
function shortName(path) {
  return [...path.split("/").at(-1)].slice(-100).join("");
}

function* pieces(channels, n) {
  for (let at = 0; at < channels[0].length; at += n) yield channels.map((samples) => samples.subarray(at, at + n));
}

function monoOf(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, samples) => sum + samples[i], 0) / channels.length);
}
