// What the page shows: functions of the state that change the document and nothing else.

import { argMax, clock, topOf } from "./numbers.js";

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A colour for each scene: hues far apart for neighbours in the list. */
export function paint(node, scene, nScenes) {
  if (scene < 0) {
    node.dataset.hue = "none";
    return node;
  }
  const step = nScenes % 3 ? 3 : nScenes % 2 ? 2 : nScenes % 5 ? 5 : 1;
  node.dataset.hue = scene;
  node.style.setProperty("--hue", ((((scene * step) % nScenes) / nScenes) * 360 + 25).toFixed(1));
  return node;
}

function dot(scene, nScenes) {
  return paint(element("span", { className: "dot" }), scene, nScenes);
}

export const spoken = (name) => name.replaceAll("_", " ");

function percent(p) {
  if (p > 0.995 && p < 1) return "> 99 %";
  if (p < 0.001) return p > 0 ? "< 0.1 %" : "0 %";
  return `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)} %`;
}

/** "12 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds < 59.95) return `${seconds < 10 ? seconds.toFixed(1).replace(".0", "") : seconds.toFixed(0)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h} h ${m} min` : `${m} min${s ? ` ${s} s` : ""}`;
}

export function showWelcome(facts) {
  $("scenes").replaceChildren(
    ...facts.scenes.map((scene, i) => element("li", {}, dot(i, facts.scenes.length), spoken(scene))),
  );
  $("known-scenes").replaceChildren(...facts.scenes.map((scene) => element("option", { value: scene })));
  $("known").hidden = false;
  const rate = `${(facts.sampleRate / 1000).toFixed(2).replace(/\.?0+$/, "")} kHz`;
  $("model-facts").textContent =
    `Model: ${facts.scenes.length} scenes, ${rate}, segments of ${facts.segmentS} s` +
    (facts.digest ? `, SHA-256 ${facts.digest.slice(0, 8)}` : "");
}

export function drawBars() {
  const bars = Array.from({ length: 45 }, (_, i) => {
    const bell = Math.exp(-(((i - 22) / 13) ** 2));
    const bar = element("i");
    bar.style.height = `${Math.round(6 + 76 * bell * (0.35 + 0.65 * Math.abs(Math.sin(i * 1.7) * Math.cos(i * 0.53))))}px`;
    bar.style.background = `oklch(0.66 0.13 ${190 + 3.2 * i})`;
    return bar;
  });
  $("bars").replaceChildren(...bars);
}

/** The scenes that a recording is in for a while, the longest first. */
function severalScenes(shares) {
  return shares.filter(({ scene, share }) => scene >= 0 && share >= 0.05).map(({ scene }) => scene);
}

const NOTHING = { waiting: "Waiting", working: "Listening to it", live: "Live", failed: "No prediction" };

/** What the list says of a recording in one line. */
export function lineOf({ state, result, now, error, label, shares }, scenes) {
  if (state === "failed") return error;
  const said = state === "live" ? now : result;
  if (!said) return `${NOTHING[state]}…`;
  const best = argMax(said.posterior);
  const several = severalScenes(shares ?? []);
  if (several.length > 1 && state !== "live") return `${several.length} scenes: ${several.map((i) => spoken(scenes[i])).join(", ")}`;
  const name = said.unknown ? `Unknown; nearest: ${spoken(scenes[best])}` : spoken(scenes[best]);
  return `${state === "live" ? "Live: " : ""}${name} ${percent(said.posterior[best])}${label ? `, labelled ${spoken(label)}` : ""}`;
}

export function showList(recordings, current, facts, choose) {
  const n = facts?.scenes.length ?? 0;
  $("recordings").replaceChildren(
    ...recordings.map((recording) => {
      const said = recording.result ?? recording.now;
      const button = element(
        "button",
        { type: "button", onclick: () => choose(recording) },
        dot(said ? argMax(said.posterior) : -1, n),
        element("span", { className: "file", textContent: recording.name, title: recording.name }),
        element("span", { className: "length", textContent: recording.result ? clock(recording.result.durationS) : "" }),
        element("span", { className: "said", textContent: lineOf(recording, facts?.scenes ?? []) }),
      );
      button.setAttribute("aria-current", String(recording === current));
      return element("li", { className: recording.state }, button);
    }),
  );
}

export function showVerdict(recording, facts) {
  const said = recording.state === "live" ? recording.now : recording.result;
  $("verdict").hidden = !said;
  if (!said) return;
  const n = facts.scenes.length;
  const best = argMax(said.posterior);
  const probability = element("small", {
    textContent: `${percent(said.posterior[best])}${said.unknown ? ", if it were a known scene" : " probable"}`,
  });
  const live = recording.state === "live";
  const nChanges = live ? 0 : recording.spans.filter((span, i) => i && span.scene !== recording.spans[i - 1].scene).length;
  const known = nChanges ? "If it were one scene throughout" : "Most probable scene";
  $("verdict-title").textContent = live ? "Now, over the last 30 s" : said.unknown ? "Nearest known scene" : known;
  $("changes").hidden = !nChanges;
  $("changes").textContent = `It changes scene ${nChanges === 1 ? "once" : `${nChanges} times`}: see the strip and the time by scene.`;
  $("scene").replaceChildren(spoken(facts.scenes[best]), probability);
  $("unknown").hidden = !said.unknown;
  $("top").replaceChildren(
    ...topOf(said.posterior, 3).map((scene) => {
      const bar = element("i");
      bar.style.setProperty("--share", `${100 * said.posterior[scene]}%`);
      const track = element("span", { className: "track" }, bar);
      const name = element("span", { textContent: spoken(facts.scenes[scene]) });
      return paint(element("li", {}, name, element("b", { textContent: percent(said.posterior[scene]) }), track), scene, n);
    }),
  );
}

export function showNotes(notes) {
  $("notes").hidden = !notes.length;
  $("notes").replaceChildren(...notes.map((note) => element("li", { textContent: note[0].toUpperCase() + note.slice(1) })));
}

export function showShares(shares, scenes) {
  const shown = shares.filter(({ seconds }) => seconds > 0);
  $("shares").replaceChildren(
    ...shown.map(({ scene, seconds, share }) => {
      const bar = element("i");
      bar.style.setProperty("--share", `${100 * share}%`);
      const name = element("span", { textContent: scene < 0 ? "silence" : spoken(scenes[scene]) });
      const time = element("b", { textContent: `${duration(seconds)}, ${percent(share)}` });
      return paint(element("li", {}, name, time, element("span", { className: "track" }, bar)), scene, scenes.length);
    }),
  );
}

export function showSpans(spans, scenes) {
  $("spans").replaceChildren(
    ...spans.map(({ startS, endS, scene, probability }) =>
      element(
        "tr",
        {},
        ...[clock(startS), clock(endS), spoken(scenes[scene]), percent(probability)].map((textContent) => element("td", { textContent })),
      ),
    ),
  );
}

/** The scenes as a strip of colours with names, and the marks of time under it. */
export function showStrip(spans, scenes, fromS, toS) {
  const [length, width] = [toS - fromS, $("stage").clientWidth];
  const parts = spans
    .filter(({ startS, endS }) => endS > fromS && startS < toS)
    .map(({ startS, endS, scene }) => {
      const [left, right] = [Math.max(startS, fromS), Math.min(endS, toS)];
      const part = paint(element("span", { title: `${spoken(scenes[scene])}, ${clock(startS)} to ${clock(endS)}` }), scene, scenes.length);
      part.style.left = `${(100 * (left - fromS)) / length}%`;
      part.style.width = `${(100 * (right - left)) / length}%`;
      if (((right - left) / length) * width > 44) part.textContent = spoken(scenes[scene]);
      return part;
    });
  $("strip").replaceChildren(...parts);
  const wanted = length / Math.max(2, Math.floor(width / 90));
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].find((s) => s >= wanted) ?? 28800;
  const marks = [];
  for (let at = Math.ceil(fromS / step) * step; at < toS - 0.03 * length; at += step) {
    const text = step < 1 && at % 1 ? `${clock(at)}.5` : clock(at);
    const mark = element("span", { textContent: text });
    mark.style.left = `${(100 * (at - fromS)) / length}%`;
    marks.push(mark);
  }
  $("axis").replaceChildren(...marks);
}

export function showHertz(marks) {
  $("hertz").replaceChildren(
    ...marks.map(({ hz, share }) => {
      const mark = element("span", { textContent: hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz` });
      mark.style.top = `${(share * $("picture").clientHeight).toFixed(1)}px`;
      return mark;
    }),
  );
}

export function announce(text) {
  $("announce").textContent = text;
}
