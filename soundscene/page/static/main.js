// The page: recordings come in by a drop, the file dialogue or the microphone, take turns at the engine, and are shown.

import { FORMS, manifest, save } from "./downloads.js";
import { makeEngine } from "./engine.js";
import { Microphone } from "./microphone.js";
import { argMax, clock } from "./numbers.js";
import { thinned } from "./picture.js";
import { Player } from "./player.js";
import { decode } from "./timeline.js";
import { $, announce, drawBars, duration, element, lineOf, showList, showNotes, showShares, showSpans, showVerdict, showWelcome, spoken } from "./view.js";

const engine = makeEngine(document.querySelector('meta[name="soundscene-engine"]').content);
const player = new Player();
const recordings = [];
let facts = null;
let current = null;
let busy = false;
let microphone = null; // {device, recording, session}
let nRecordings = 0;
const MICROPHONE = "microphone"; // a recording that never began

// --- recordings ---------------------------------------------------------------------------------------------------------

function newRecording(file, name, state) {
  const recording = { id: ++nRecordings, file, name, state, segments: [], spans: [], shares: [], label: "", share: 0 };
  recordings.push(recording);
  return recording;
}

function addFiles(files) {
  const added = [...files].map((file) => newRecording(file, file.webkitRelativePath || file.name, "waiting"));
  if (!added.length) return;
  if (microphone?.recording !== current || !current) choose(added[0]);
  refresh();
  work();
}

/** One file after the other. */
async function work() {
  if (busy || !facts) return;
  busy = true;
  for (let next; (next = recordings.find(({ state }) => state === "waiting")); ) await predict(next);
  busy = false;
}

async function predict(recording) {
  recording.state = "working";
  refresh();
  const start = performance.now();
  try {
    const listen = {
      segments: (segments) => addSegments(recording, segments),
      progress: (share) => {
        recording.share = share;
        if (recording === current) showProgress();
      },
    };
    const result = await engine.predict(recording, listen);
    performance.measure(`predict ${recording.name}`, { start }); // for developers' tools
    if (!result.cancelled) finish(recording, result);
  } catch (error) {
    fail(recording, error);
  }
  refresh();
}

function addSegments(recording, segments) {
  for (const segment of segments) recording.segments.push(thinned(segment, recording.segments.length));
  follow(recording);
}

const REST = 10; // times as long as it takes to decode a timeline, until it is decoded again: recordings may last for days

/** Decode what is known so far, so that the strip grows with the recording; at its end, where `durationS` is given. */
function follow(recording, durationS) {
  const started = performance.now();
  if (durationS === undefined && (recording !== current || started < (recording.nextAt ?? 0))) return;
  const voting = recording.segments.filter(({ silent }) => !silent);
  const end = durationS ?? recording.segments.at(-1)?.endS ?? 0;
  Object.assign(recording, decode(voting, facts, end));
  if (recording === current) showRecording();
  recording.nextAt = performance.now() + REST * (performance.now() - started);
}

function finish(recording, result) {
  recording.result = result;
  recording.state = "done";
  follow(recording, result.durationS);
  announce(`${recording.name}: ${lineOf(recording, facts.scenes)}${result.notes.length ? `; ${result.notes.length} notes` : ""}`);
}

function fail(recording, error) {
  recording.state = "failed";
  recording.error = error.message;
  announce(`${recording.name}: ${error.message}`);
  if (recording === current) showRecording();
}

function choose(recording) {
  current = recording;
  player.open(recording, facts);
  refresh();
  showRecording();
}

function remove() {
  engine.cancel(current.id);
  const at = recordings.indexOf(current);
  recordings.splice(at, 1);
  player.close(current);
  current = null;
  if (recordings.length) choose(recordings[Math.min(at, recordings.length - 1)]);
  refresh();
}

// --- the microphone -----------------------------------------------------------------------------------------------------

async function listen() {
  if (microphone || !facts) return;
  microphone = {};
  const device = new Microphone();
  let session = null;
  try {
    const onLevel = (share) => ($("level").querySelector("i").style.width = `${100 * share}%`);
    await device.start({ onLevel, onBlock: (channels) => session.push(channels), onEnd: () => stop() });
    const clockTime = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    const recording = newRecording(null, `microphone ${clockTime}.wav`, "live");
    session = await engine.live(recording.id, device.rate, {
      segments: (segments, live) => {
        recording.now = live ?? recording.now;
        addSegments(recording, segments);
        refresh();
      },
      failed: (error) => stop(error),
    });
    microphone = { device, recording, session };
    recording.liveNotes = device.notes;
    choose(recording);
    announce("Listening to the microphone");
    await device.listen();
  } catch (error) {
    device.release();
    microphone = null;
    const failed = newRecording(null, MICROPHONE, "failed");
    failed.error = error.message;
    choose(failed);
    announce(error.message);
  }
}

async function stop(failure) {
  if (!microphone?.device) return;
  const { device, recording, session } = microphone;
  microphone = null;
  recording.file = await device.stop(recording.name);
  try {
    if (failure) throw failure;
    const result = await session.finish(recording.file);
    finish(recording, { ...result, notes: [...device.notes, ...result.notes] });
  } catch (error) {
    fail(recording, error);
  }
  if (recording === current) player.open(recording, facts);
  refresh();
  if (recording === current) showRecording();
}

// --- what is shown ------------------------------------------------------------------------------------------------------

let refreshing = false;

function refresh() {
  if (refreshing) return;
  refreshing = true;
  requestAnimationFrame(() => {
    refreshing = false;
    $("welcome").hidden = recordings.length > 0;
    $("work").hidden = !recordings.length;
    const focused = [...$("recordings").querySelectorAll("button")].indexOf(document.activeElement);
    showList(recordings, current, facts, choose);
    if (focused >= 0) $("recordings").querySelectorAll("button")[focused]?.focus();
    $("all").hidden = ended().length < 2;
    for (const button of document.querySelectorAll('[data-act="microphone"]')) button.disabled = !facts || Boolean(microphone);
    const labelled = recordings.filter(({ label }) => label).length;
    $("manifest").disabled = !labelled;
    $("manifest").textContent = labelled > 1 ? `Download manifest.csv (${labelled} labels)` : "Download manifest.csv";
    document.title = current?.result ? `${spoken(facts.scenes[argMax(current.result.posterior)])} – ${current.name}` : "soundscene";
  });
}

function showProgress() {
  const working = current.state === "working" || current.state === "waiting";
  $("progress").hidden = !working;
  if (!working) return;
  const percent = current.share === null ? 100 : Math.round(100 * current.share);
  $("progress").firstElementChild.style.width = `${percent}%`;
  if (current.share === null) $("progress").removeAttribute("aria-valuenow");
  else $("progress").setAttribute("aria-valuenow", percent);
}

function showRecording() {
  const { name, state, result, segments, spans, shares, error } = current;
  $("name").textContent = name;
  $("about").textContent = aboutOf(current);
  $("stop").hidden = $("level").hidden = state !== "live";
  $("level").querySelector(".meter").style.setProperty("--full", `${$("level").clientWidth}px`);
  $("remove").hidden = state === "live";
  $("problem").hidden = state !== "failed";
  $("problem").querySelector("p").textContent = error ? problemOf(current) : "";
  showProgress();
  if (!facts) return;
  showVerdict(current, facts);
  showNotes(result?.notes ?? current.liveNotes ?? []);
  $("player").hidden = state === "failed" && !segments.length;
  $("more").hidden = !segments.length;
  $("label-card").hidden = $("save-card").hidden = !result;
  showShares(shares, facts.scenes);
  showSpans(spans, facts.scenes);
  showLabel();
  player.show();
}

function problemOf({ name, error }) {
  return name === MICROPHONE ? error[0].toUpperCase() + error.slice(1) : `${name}: ${error}`;
}

function aboutOf({ state, result, segments }) {
  if (state === "live") return `${clock(segments.at(-1)?.endS ?? 0)} listened`;
  if (!result) return state === "failed" ? "" : "Listening to it…";
  return duration(result.durationS) + (result.rate ? `, ${(result.rate / 1000).toFixed(2).replace(/\.?0+$/, "")} kHz` : "");
}

function showLabel() {
  const best = current.result && facts.scenes[argMax(current.result.posterior)];
  if (document.activeElement !== $("true-scene")) $("true-scene").value = current.label || best || "";
  $("label-state").textContent = current.label
    ? `Labelled ${current.label}${current.label === best ? ", as predicted" : `, predicted ${best}`}.`
    : "Keep the prediction, or write another scene. Labels become a manifest for soundscene train.";
}

// --- what people do -----------------------------------------------------------------------------------------------------

const ended = () => recordings.filter(({ result, error }) => result || error);
const stem = (name) => name.split("/").at(-1).replace(/\.[^.]+$/, "") || "recording";

function downloadButtons(place, chosen, prefix) {
  const forms = FORMS.filter(({ single }) => !single || place.id === "downloads");
  const button = (name, title, act) =>
    element("button", { type: "button", className: "small", title, onclick: act }, name, element("span", { textContent: title }));
  const buttons = forms.map(({ name, title, suffix, type, make }) =>
    button(name, title, () => save(prefix() + suffix, make(chosen(), facts), type)),
  );
  const saveSound = () => current.file && save(current.name.split("/").at(-1), current.file);
  if (place.id === "downloads") buttons.push(button("Sound", "The recording itself", saveSound));
  place.replaceChildren(...buttons);
}

const acts = { choose: () => $("files").click(), microphone: listen };
for (const button of document.querySelectorAll("[data-act]")) button.onclick = () => acts[button.dataset.act]();
$("files").onchange = () => {
  addFiles($("files").files);
  $("files").value = "";
};
$("stop").onclick = () => stop();
$("remove").onclick = remove;
$("explain").onclick = async () => {
  const { startS } = current.segments[player.segment];
  $("explain").disabled = true;
  try {
    $("explained").src = await engine.explain(current, startS);
    $("explained").alt = `Images and attention of ${current.name} from ${clock(startS)}`;
    $("dialog").showModal();
  } catch (error) {
    $("segment-text").textContent = `No picture: ${error.message}`;
  }
  $("explain").disabled = false;
};
$("manifest").onclick = () => save("manifest.csv", manifest(recordings, facts), "text/csv");
$("label").onsubmit = (event) => {
  event.preventDefault();
  current.label = $("true-scene").value.trim().split(/\s+/).join(" ");
  $("true-scene").blur();
  refresh();
  showLabel();
};
downloadButtons($("downloads"), () => [current], () => stem(current.name));
downloadButtons($("all-downloads"), ended, () => "soundscene");

let dragged = 0;
addEventListener("dragenter", () => ($("veil").hidden = ++dragged < 1));
addEventListener("dragleave", () => ($("veil").hidden = --dragged < 1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  dragged = 0;
  $("veil").hidden = true;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  if (entries.some((entry) => entry?.isDirectory)) addFiles((await Promise.all(entries.map(filesOf))).flat());
  else addFiles(event.dataTransfer.files);
});

/** The files of a dropped folder, with their paths. */
async function filesOf(entry) {
  if (!entry) return [];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    const path = entry.fullPath.replace(/^\//, "");
    Object.defineProperty(file, "webkitRelativePath", { value: path });
    return file.name.startsWith(".") ? [] : [file];
  }
  const [reader, found] = [entry.createReader(), []];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  return (await Promise.all(found.map(filesOf))).flat();
}

const keys = {
  " ": () => player.toggle(),
  ArrowLeft: () => player.seekBy(-1),
  ArrowRight: () => player.seekBy(1),
  "+": () => player.zoom(2),
  "-": () => player.zoom(0.5),
  j: () => step(1),
  k: () => step(-1),
};

function step(by) {
  const next = recordings[recordings.indexOf(current) + by];
  if (next) choose(next);
}

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio]), select, textarea");
  const pressing = event.target.closest("button, summary, a, input") && [" ", "Enter"].includes(event.key);
  const choosing = event.target.matches("input[type=radio]") && event.key.startsWith("Arrow");
  if (!current || typing || pressing || choosing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = keys[event.key === "=" ? "+" : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const THEMES = ["auto", "light", "dark"];
function showTheme(theme) {
  $("theme").textContent = `Theme: ${theme}`;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
$("theme").onclick = () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  showTheme(next);
  try {
    localStorage.setItem("soundscene-theme", next);
  } catch {
    // no storage: for this visit only
  }
};

// --- begin --------------------------------------------------------------------------------------------------------------

$("unserved").remove();
drawBars();
showTheme(document.documentElement.dataset.theme ?? "auto");
if (engine.remote) $("promise").textContent = "Sound goes to this service only";
document.body.classList.toggle("remote", Boolean(engine.remote));
for (const button of document.querySelectorAll('[data-act="microphone"]')) button.disabled = true;
$("token").onsubmit = (event) => {
  event.preventDefault();
  engine.token = $("token-text").value.trim();
  begin();
};

async function begin() {
  try {
    facts = await engine.open();
    showWelcome(facts);
    $("token").hidden = true;
    $("engine").classList.remove("failed");
    $("engine").textContent = engine.remote ? "Ready" : "Ready: the model runs in this browser";
    if (current) choose(current);
    refresh();
    work();
  } catch (error) {
    $("engine").textContent = error.needsToken ? "This service asks for a token." : `The model cannot be used: ${error.message}`;
    $("engine").classList.toggle("failed", !error.needsToken);
    $("token").hidden = !error.needsToken;
    if (error.needsToken) return;
    for (const recording of recordings) fail(recording, error);
    refresh();
  }
}

begin();
