// The player over the picture of a recording: position, zoom, channel, and the segment whose attention is shown.

import { clock } from "./numbers.js";
import { drawAttention, drawRecording, hertzMarks, levelsOf } from "./picture.js";
import { $, showHertz, showStrip, spoken } from "./view.js";
import { argMax } from "./numbers.js";

const CLOSEST_S = 2;
const PLAY = "M4 2.5v11l9-5.5z";
const PAUSE = "M4 2.5h3v11H4zM9.5 2.5h3v11h-3z";

export class Player {
  constructor() {
    this.audio = $("audio");
    this.recording = null;
    this.view = [0, 1];
    this.channel = 0;
    this.segment = 0;
    this.audio.ontimeupdate = () => this.moved();
    this.audio.onplay = this.audio.onpause = () => this.showState();
    this.audio.onended = () => this.showState();
    $("play").onclick = () => this.toggle();
    $("in").onclick = () => this.zoom(2);
    $("out").onclick = () => this.zoom(0.5);
    $("before").onclick = () => this.choose(this.segment - 1);
    $("after").onclick = () => this.choose(this.segment + 1);
    $("channels").onchange = (event) => {
      this.channel = Number(event.target.value);
      this.show();
    };
    const stage = $("stage");
    stage.onpointerdown = (event) => this.point(event, true);
    stage.onpointermove = (event) => event.buttons && this.point(event, false);
    stage.onkeydown = (event) => this.key(event);
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.recording && this.show()).observe(stage);
  }

  open(recording, facts) {
    this.facts = facts;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = recording.file ? URL.createObjectURL(recording.file) : null;
    this.audio.pause();
    if (this.url) this.audio.src = this.url;
    else this.audio.removeAttribute("src");
    this.audio.onerror = () => ($("play").disabled = true);
    $("play").disabled = !this.url;
    if (recording !== this.recording) {
      this.segment = 0;
      this.zoomed = null;
    }
    this.recording = recording;
    this.showState();
  }

  close(recording) {
    if (recording !== this.recording) return;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.recording = null;
  }

  get lengthS() {
    const { result, segments } = this.recording;
    return Math.max(result?.durationS ?? segments.at(-1)?.endS ?? 0, 0.1);
  }

  show() {
    const { segments, spans } = this.recording;
    if (!this.facts || $("player").hidden) return;
    this.view = this.zoomed ?? [0, this.lengthS];
    this.levels = levelsOf(segments);
    const first = segments.find(({ members }) => members.length)?.members[0];
    const pictured = Boolean(first);
    const channels = first ? first.bytes.length / (first.bands * first.frames) : 2;
    if (channels === 1) this.channel = 0;
    $("picture").hidden = !pictured;
    $("channels").hidden = !pictured || channels === 1;
    drawRecording($("picture"), segments, { fromS: this.view[0], toS: this.view[1], channel: this.channel, levels: this.levels });
    showStrip(spans, this.facts.scenes, ...this.view);
    const features = this.facts.members[0]?.features;
    showHertz(pictured && features ? hertzMarks(features, this.facts.sampleRate) : []);
    $("end").textContent = clock(this.lengthS);
    $("in").disabled = this.view[1] - this.view[0] <= CLOSEST_S;
    $("out").disabled = !this.zoomed;
    this.moved();
    if (this.recording.state === "live") this.segment = segments.length - 1;
    this.showAttention();
  }

  /** The playhead, and its words for a screen reader. */
  moved() {
    if (!this.recording) return;
    const now = Math.min(this.audio.currentTime || 0, this.lengthS);
    const [from, to] = this.view;
    if (this.zoomed && !this.audio.paused && (now > to || now < from)) this.look(now, to - from);
    const share = (now - this.view[0]) / (this.view[1] - this.view[0]);
    $("head").hidden = share < 0 || share > 1;
    $("head").style.left = `${100 * share}%`;
    $("now").textContent = clock(now);
    const span = this.recording.spans.find(({ startS, endS }) => now >= startS && now < endS);
    const words = span ? `${clock(now)}, ${spoken(this.facts.scenes[span.scene])}` : clock(now);
    $("stage").setAttribute("aria-valuemax", this.lengthS.toFixed(1));
    $("stage").setAttribute("aria-valuenow", now.toFixed(1));
    $("stage").setAttribute("aria-valuetext", words);
    const playing = this.segmentAt(now);
    if (!this.audio.paused && playing !== this.segment) this.choose(playing);
  }

  showState() {
    const playing = !this.audio.paused && !this.audio.ended;
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    $("play").querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
    if (playing) this.tick();
  }

  /** Between the player's own events, so that the playhead glides. */
  tick() {
    this.moved();
    if (!this.audio.paused) requestAnimationFrame(() => this.tick());
  }

  toggle() {
    if ($("play").disabled) return;
    if (this.audio.paused) this.audio.play().catch(() => ($("play").disabled = true));
    else this.audio.pause();
  }

  seek(seconds) {
    const to = Math.max(0, Math.min(seconds, this.lengthS - 0.01));
    if (this.url) this.audio.currentTime = to;
    if (this.zoomed && (to < this.view[0] || to > this.view[1])) this.look(to, this.view[1] - this.view[0]);
    this.choose(this.segmentAt(to));
    this.moved();
  }

  seekBy(seconds) {
    this.seek((this.audio.currentTime || 0) + seconds);
  }

  key(event) {
    const to = { Home: 0, End: this.lengthS, PageUp: this.audio.currentTime + 10, PageDown: this.audio.currentTime - 10 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.seek(to);
  }

  timeAt(event) {
    const box = $("stage").getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    return this.view[0] + share * (this.view[1] - this.view[0]);
  }

  point(event, first) {
    if (first) $("stage").setPointerCapture(event.pointerId);
    this.seek(this.timeAt(event));
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? 1.5 : 1 / 1.5, this.timeAt(event));
  }

  zoom(factor, about = this.audio.currentTime || this.view[0]) {
    const length = Math.max(CLOSEST_S, (this.view[1] - this.view[0]) / factor);
    const share = (about - this.view[0]) / (this.view[1] - this.view[0]);
    this.look(about - (share - 0.5) * length, length);
  }

  /** Show so many seconds about a time. */
  look(middle, length) {
    if (length >= this.lengthS) this.zoomed = null;
    else {
      const from = Math.max(0, Math.min(middle - length / 2, this.lengthS - length));
      this.zoomed = [from, from + length];
    }
    this.show();
  }

  segmentAt(seconds) {
    const { segments } = this.recording;
    const found = segments.findLastIndex(({ startS }) => startS <= seconds);
    return Math.max(0, found);
  }

  choose(number) {
    this.segment = Math.max(0, Math.min(number, this.recording.segments.length - 1));
    this.showAttention();
  }

  showAttention() {
    const { segments } = this.recording;
    const segment = segments[this.segment];
    $("attention").hidden = !segment?.members.length;
    if ($("attention").hidden) return;
    const byService = document.body.classList.contains("remote");
    $("explain").hidden = !byService || !this.recording.file || this.recording.state !== "done";
    drawAttention($("segment"), segment, this.levels, this.channel);
    const times = `${clock(segment.startS)} to ${clock(segment.endS)}`;
    const text = segment.silent ? "digital silence, which does not vote" : this.wordsOf(segment);
    $("segment-text").textContent = `Segment ${this.segment + 1} of ${segments.length}, ${times}: ${text}`;
    $("segment").setAttribute("aria-label", $("segment-text").textContent);
    $("before").disabled = this.segment === 0;
    $("after").disabled = this.segment === segments.length - 1;
  }

  wordsOf({ posterior, members, startS, endS }) {
    const best = argMax(posterior);
    const scene = `${spoken(this.facts.scenes[best])} ${(100 * posterior[best]).toFixed(0)} %`;
    const { temporal, spatial } = members[0];
    if (document.body.classList.contains("remote")) return `${scene}.`;
    if (!temporal) return `${scene}. This network pools without attention.`;
    const peak = argMax(temporal);
    const at = startS + ((peak + 0.5) / temporal.length) * (endS - startS);
    const below = spatial ? " Below: what was pooled, feature by feature." : "";
    return `${scene}. The line is the attention over time, at most ${(temporal[peak] * temporal.length).toFixed(1)} times even, at ${at.toFixed(1)} s.${below}`;
  }
}
