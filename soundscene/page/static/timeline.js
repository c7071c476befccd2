// Scenes over time: a hidden Markov model in which a scene lasts for a while. The same sums as soundscene/scoring/decoding.py
// and soundscene/timelines.py, in logs. docs/decisions/0070-timeline.md says why.

import { argMax, logSoftmax, logSumExp } from "./numbers.js";

export const STAY_S = 120;
export const SILENCE = "(silence)";
const FLOOR = 1e-15; // least probability: no single segment rules a scene out
const NEAR = 3; // segments to each side of a change within which it counts as detected

/**
 * Decode segments [{startS, endS, posterior}] of one recording.
 * Returns {spans: [{startS, endS, scene, probability, change}], shares: [{scene, seconds, share}]}; scenes are numbers.
 */
export function decode(segments, facts, durationS, stayS = STAY_S) {
  if (!segments.length) return { spans: [], shares: [] };
  const logPrior = facts.prior.map(Math.log);
  const emission = segments.map(({ posterior }) =>
    Float64Array.from(posterior, (p, i) => (Math.log(Math.max(p, FLOOR)) - logPrior[i]) / facts.temperature),
  );
  const n = logPrior.length;
  const steps = segments.slice(1).map(({ startS }, i) => transition(startS - segments[i].startS, n, facts.segmentS, stayS));
  const later = backward(emission, steps);
  const marginal = forward(emission, steps).map((row, i) => logSoftmax(row.map((value, j) => value + later[i][j])));
  const path = viterbi(emission, steps);
  const spans = cut(segments, path, marginal, { emission, steps, later }, stayS);
  return { spans, shares: sharesOf(spans, segments, durationS, n) };
}

/** Log probability of the same scene, of one given other scene, and their difference, over any number of seconds. */
function transition(elapsedS, n, hopS, stayS) {
  const lost = Math.min((hopS * n) / (n - 1) / stayS, 1);
  const logMemory = (elapsedS / hopS) * Math.log1p(-lost);
  const forgotten = -Math.expm1(logMemory);
  return [Math.log1p((-forgotten * (n - 1)) / n), Math.log(forgotten / n), logMemory];
}

function predict(row, [, other, memory]) {
  const total = other + logSumExp(row);
  return row.map((value) => logSumExp([total, memory + value]));
}

function centred(row) {
  const top = row[argMax(row)];
  return row.map((value) => value - top);
}

function forward(emission, steps) {
  const rows = [emission[0]];
  steps.forEach((step, i) => {
    const before = predict(rows[i], step);
    rows.push(centred(emission[i + 1].map((value, j) => value + before[j])));
  });
  return rows;
}

function backward(emission, steps) {
  const rows = emission.map((row) => new Float64Array(row.length));
  for (let i = steps.length - 1; i >= 0; i--) {
    rows[i] = centred(predict(rows[i + 1].map((value, j) => value + emission[i + 1][j]), steps[i]));
  }
  return rows;
}

function viterbi(emission, steps) {
  let best = emission[0];
  const source = steps.map(([same, other], i) => {
    const top = argMax(best);
    const changed = best[top] + other;
    const from = Int32Array.from(best, (value, j) => (value + same >= changed ? j : top));
    best = best.map((value, j) => Math.max(value + same, changed) + emission[i + 1][j]);
    return from;
  });
  const path = new Int32Array(emission.length);
  path[source.length] = argMax(best);
  for (let i = source.length - 1; i >= 0; i--) path[i] = source[i][path[i + 1]];
  return path;
}

/** Spans end where the scene changes, and where silence lasts longer than a stay. */
function cut(segments, path, marginal, messages, stayS) {
  const bounds = [0];
  for (let i = 1; i < path.length; i++) {
    if (path[i] !== path[i - 1] || segments[i].startS - segments[i - 1].endS > stayS) bounds.push(i);
  }
  bounds.push(path.length);
  return bounds.slice(1).map((end, k) => {
    const start = bounds[k];
    const scene = path[start];
    let total = 0;
    for (let i = start; i < end; i++) total += Math.exp(marginal[i][scene]);
    // the last piece of a recording overlaps the segment before: a span ends where the next one begins
    const endS = end < path.length ? Math.min(segments[end - 1].endS, segments[end].startS) : segments[end - 1].endS;
    const changes = k > 0 && path[start - 1] !== scene;
    const near = [Math.min(NEAR, start - bounds[k - 1]), Math.min(NEAR, end - start)];
    const change = changes ? changeProbability(start, near, path, marginal, messages) : null;
    return { startS: segments[start].startS, endS, scene, probability: total / (end - start), change };
  });
}

/** P(the old scene `before` segments back, and the new one `after` segments on | all segments). */
function changeProbability(boundary, [before, after], path, marginal, { emission, steps, later }) {
  const [first, last] = [boundary - before, boundary + after - 1];
  let row = new Float64Array(emission[0].length).fill(-Infinity);
  row[path[first]] = 0;
  for (let i = first + 1; i <= last; i++) {
    row = predict(row, steps[i - 1]).map((value, j) => value + emission[i][j]);
  }
  const onward = logSoftmax(row.map((value, j) => value + later[last][j]))[path[last]];
  return Math.exp(marginal[first][path[first]] + onward);
}

/** Seconds and share of each scene, the longest first; what no span covers is silence, -1. */
function sharesOf(spans, segments, durationS, n) {
  const seconds = new Float64Array(n);
  for (const span of spans) seconds[span.scene] += span.endS - span.startS;
  const [first, last] = [segments[0], segments[segments.length - 1]];
  const total = durationS - last.endS < first.endS - first.startS ? last.endS : durationS;
  const shares = Array.from(seconds, (value, scene) => ({ scene, seconds: value, share: total ? value / total : 0 }));
  shares.sort((a, b) => b.seconds - a.seconds || a.scene - b.scene);
  const silent = total - seconds.reduce((sum, value) => sum + value, 0);
  if (silent > 1e-3 * total) shares.push({ scene: -1, seconds: silent, share: silent / total });
  return shares;
}
