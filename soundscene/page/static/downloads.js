// Texts of the files to download: those of `soundscene predict` and `soundscene timeline`, column by column.

import { argMax, general } from "./numbers.js";

const PREDICTION_COLUMNS = ["path", "start_s", "end_s", "scene", "probability"];
const TIMELINE_COLUMNS = ["path", "start_s", "end_s", "scene", "probability", "change_probability", "start_time", "end_time"];
const RAVEN_COLUMNS = [
  "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin Path",
  "File Offset (s)", "Scene", "Probability", "Begin Clock Time",
];
// controls, line ends, and what turns the direction of text around: they are shown escaped
const DANGEROUS = /[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

function show(text) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const escape = (c) => (c.charCodeAt(0) < 256 ? `\\x${hex(c, 2)}` : `\\u${hex(c, 4)}`);
  return text.replace(DANGEROUS, (c) => short[c] ?? escape(c));
}

function hex(character, digits) {
  return character.charCodeAt(0).toString(16).padStart(digits, "0");
}

function cell(value) {
  const text = typeof value === "string" ? value.replace(/[^\n\t]+/g, show) : String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function line(cells) {
  return `${cells.map(cell).join(",")}\n`;
}

const predicted = (recordings) => recordings.filter(({ result }) => result);
const voting = (recording) => recording.segments.filter(({ silent }) => !silent);

/** As `predict --format csv --segments`: a row of the recording, then one of each segment. */
export function predictionsCsv(recordings, { scenes }) {
  const names = scenes.map((scene) => (PREDICTION_COLUMNS.includes(scene) ? `p(${scene})` : scene));
  const rows = predicted(recordings).flatMap((recording) => {
    const whole = { startS: 0, endS: recording.result.durationS, posterior: recording.result.posterior };
    return [whole, ...voting(recording)].map(({ startS, endS, posterior }) => {
      const best = argMax(posterior);
      const numbers = [posterior[best], ...posterior].map((p) => p.toFixed(6));
      return line([recording.name, general(startS), general(endS), scenes[best], ...numbers]);
    });
  });
  return line([...PREDICTION_COLUMNS, ...names]) + rows.join("");
}

/** As `predict --format jsonl --segments`: a line of each recording, with its error where there is no prediction. */
export function jsonLines(recordings, { scenes }) {
  const named = (posterior) => Object.fromEntries(scenes.map((scene, i) => [scene, posterior[i]]));
  const lines = recordings.map((recording) => {
    if (!recording.result) return { path: recording.name, error: recording.error };
    const { posterior, durationS, unfamiliarity, threshold, unknown, notes } = recording.result;
    const best = argMax(posterior);
    return {
      path: recording.name,
      duration_s: Math.round(durationS * 1000) / 1000,
      scene: scenes[best],
      probability: posterior[best],
      posterior: named(posterior),
      unfamiliarity,
      unfamiliarity_threshold: threshold,
      unknown,
      notes,
      segments: voting(recording).map((s) => ({ start_s: s.startS, end_s: s.endS, posterior: named(s.posterior) })),
    };
  });
  return lines.map((value) => `${JSON.stringify(value)}\n`).join("");
}

/** As `timeline --format csv`: a row of each span. */
export function timelineCsv(recordings, { scenes }) {
  const rows = predicted(recordings).flatMap(({ name, spans }) =>
    spans.map(({ startS, endS, scene, probability, change }) => {
      const numbers = [probability.toFixed(6), change === null ? "" : change.toFixed(6)];
      return line([name, startS.toFixed(3), endS.toFixed(3), scenes[scene], ...numbers, "", ""]);
    }),
  );
  return line(TIMELINE_COLUMNS) + rows.join("");
}

function spaced(text) {
  return show(text.split(/\s+/).filter(Boolean).join(" "));
}

/** Label track (File, Import, Labels), of one recording. */
export function audacity([{ spans }], { scenes }) {
  return spans
    .map((s) => `${s.startS.toFixed(6)}\t${s.endS.toFixed(6)}\t${spaced(scenes[s.scene])} ${s.probability.toFixed(2)}\n`)
    .join("");
}

/** A selection table for Raven; times of several recordings follow each other, as in Raven's sequence of files. */
export function raven(recordings, { scenes, sampleRate }) {
  let [text, number, beforeS] = [`${RAVEN_COLUMNS.join("\t")}\n`, 0, 0];
  for (const { name, spans, result } of predicted(recordings)) {
    for (const { startS, endS, scene, probability } of spans) {
      const edges = [(beforeS + startS).toFixed(6), (beforeS + endS).toFixed(6), "0", general(sampleRate / 2)];
      const names = [spaced(name), startS.toFixed(6), spaced(scenes[scene])];
      text += `${[++number, "Spectrogram 1", "1", ...edges, ...names, probability.toFixed(4), ""].join("\t")}\n`;
    }
    beforeS += result.durationS;
  }
  return text;
}

/** A manifest for `soundscene train`: the recordings that were labelled here, and what was predicted of them. */
export function manifest(recordings, { scenes }) {
  const cellOf = (text) => (/[",\n\r;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = recordings
    .filter(({ label }) => label)
    .map(({ name, label, result }) => {
      const best = result && argMax(result.posterior);
      const said = result ? [scenes[best], result.posterior[best].toFixed(4)] : ["", ""];
      return `${[name, label, ...said].map(cellOf).join(",")}\n`;
    });
  return `path,scene,predicted,probability\n${rows.join("")}`;
}

export const FORMS = [
  { name: "CSV", title: "Posteriors, with segments", suffix: ".csv", type: "text/csv", make: predictionsCsv },
  { name: "JSON", title: "The same, as JSON lines", suffix: ".jsonl", type: "application/x-ndjson", make: jsonLines },
  { name: "Timeline", title: "Scenes over time, CSV", suffix: ".timeline.csv", type: "text/csv", make: timelineCsv },
  { name: "Audacity", title: "Label track", suffix: ".labels.txt", type: "text/plain", make: audacity, single: true },
  { name: "Raven", title: "Selection table", suffix: ".selections.txt", type: "text/plain", make: raven },
];

/** Hand a file to the browser's downloads. */
export function save(name, content, type = "text/plain") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
