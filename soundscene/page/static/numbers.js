// Numbers: logs that are added, and numbers as Python prints them, so that the notes of the page are those of the command.

export function logSumExp(values) {
  let top = -Infinity;
  for (const value of values) top = Math.max(top, value);
  if (top === -Infinity) return top;
  let total = 0;
  for (const value of values) total += Math.exp(value - top);
  return top + Math.log(total);
}

export function logSoftmax(values) {
  const total = logSumExp(values);
  return Float64Array.from(values, (value) => value - total);
}

/** Renormalise log scores; all excluded means uniform. Source: scoring.fusion. */
function renormalise(scores) {
  return logSoftmax(scores.every((score) => score === -Infinity) ? scores.map(() => 0) : scores);
}

/** The product rule over segments, then a temperature: log posteriors [segment][scene] -> posterior [scene]. */
export function fuse(rows, nScenes, temperature) {
  const total = new Float64Array(nScenes);
  for (const row of rows) for (let i = 0; i < nScenes; i++) total[i] += row[i];
  return renormalise(renormalise(total).map((value) => value / temperature)).map(Math.exp);
}

export function argMax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Numbers of the most probable scenes, the first first; a stable order, as in ScenePrediction.top. */
export function topOf(posterior, n) {
  return Array.from(posterior, (_, i) => i)
    .sort((a, b) => posterior[b] - posterior[a] || a - b)
    .slice(0, n);
}

/** A number with six significant digits and no zeros behind, as "%g" prints it. */
export function general(value, digits = 6) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const sign = power[0] === "-" ? "-" : "+";
    return `${trimZeros(mantissa)}e${sign}${power.replace(/^[+-]/, "").padStart(2, "0")}`;
  }
  return trimZeros(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

function trimZeros(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Seconds as 0:07, 12:05 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
}
