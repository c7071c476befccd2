// Pictures on a canvas: what the network sees of a recording over time, and what it attended to in a segment.

const STOPS = [
  [0, 4, 4, 16], [0.2, 49, 18, 95], [0.4, 129, 37, 129], [0.6, 205, 64, 113], [0.8, 251, 135, 97], [1, 252, 253, 191],
]; // of matplotlib's "magma"
const MOST_FULL = 5400; // segments whose images are kept whole: three hours of 2 s, 55 MB
const THIN = 4; // columns that are kept of a later one
const MOST_SAMPLED = 6; // columns averaged in a pixel

const COLOURS = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  const at = STOPS.findIndex(([stop]) => stop >= i / 255) || 1;
  const [[from, ...a], [to, ...b]] = [STOPS[at - 1], STOPS[at]];
  const [r, g, blue] = a.map((value, c) => value + ((b[c] - value) * (i / 255 - from)) / (to - from));
  COLOURS[i] = (255 << 24) | (Math.round(blue) << 16) | (Math.round(g) << 8) | Math.round(r);
}

/** Keep a segment for drawing; from the third hour on as a few columns, so that days fit into memory. */
export function thinned(segment, number) {
  if (number < MOST_FULL) return segment;
  const members = segment.members.slice(0, 1).map(({ bands, frames, bytes }) => {
    const rows = bytes.length / frames; // of one channel or two
    const kept = new Uint8Array(rows * THIN);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < THIN; column++) {
        const [first, stop] = [column, column + 1].map((c) => Math.floor((c * frames) / THIN));
        let sum = 0;
        for (let f = first; f < stop; f++) sum += bytes[row * frames + f];
        kept[row * THIN + column] = sum / (stop - first);
      }
    }
    return { bands, frames: THIN, bytes: kept, temporal: null, spatial: null };
  });
  return { ...segment, members };
}

/** Levels that are drawn black and white: 4 and 99.7 per cent of a sample. */
export function levelsOf(segments) {
  const counts = new Float64Array(256);
  const step = Math.max(1, Math.floor(segments.length / 200));
  let total = 0;
  for (let i = 0; i < segments.length; i += step) {
    const member = segments[i].silent ? null : segments[i].members[0];
    if (!member) continue;
    for (let k = 0; k < member.bytes.length; k += 3) {
      counts[member.bytes[k]]++;
      total++;
    }
  }
  const quantile = (share) => {
    let [level, sum] = [0, counts[0]];
    while (level < 255 && sum < share * total) sum += counts[++level];
    return level;
  };
  const low = total ? quantile(0.04) : 0;
  return [low, Math.max(low + 20, total ? quantile(0.997) : 255)];
}

function fitted(canvas) {
  const scale = Math.min(2, devicePixelRatio || 1);
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d");
}

/** Draw the segments from fromS to toS; later ones lie over earlier ones. */
export function drawRecording(canvas, segments, { fromS, toS, channel, levels }) {
  const context = fitted(canvas);
  const [width, height] = [canvas.width, canvas.height];
  context.fillStyle = "#0b0a10";
  context.fillRect(0, 0, width, height);
  const first = segments.find(({ members }) => members.length)?.members[0];
  if (!first || !width) return;
  const { bands } = first;
  const image = new ImageData(width, bands);
  const pixels = new Uint32Array(image.data.buffer).fill(0xff100a0b);
  const perPixel = (toS - fromS) / width;
  for (let x = 0, at = 0; x < width; x++) {
    const [left, right] = [fromS + x * perPixel, fromS + (x + 1) * perPixel];
    while (at < segments.length && segments[at].endS <= left) at++;
    if (at >= segments.length) break;
    drawColumn(pixels, x, width, segments, at, [left, right], channel, bands, levels);
  }
  const small = new OffscreenCanvas(width, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, width, bands, 0, 0, width, height);
}

function drawColumn(pixels, x, width, segments, first, [left, right], channel, bands, [low, high]) {
  const sums = new Float64Array(bands);
  let n = 0;
  for (let k = 0; k < MOST_SAMPLED; k++) {
    const time = left + ((k + 0.5) / MOST_SAMPLED) * (right - left);
    let i = first;
    while (i < segments.length && segments[i].endS <= time) i++;
    const segment = segments[i];
    if (!segment || segment.startS > time || !segment.members.length) continue;
    const { frames, bytes } = segment.members[0];
    const frame = Math.min(frames - 1, Math.floor(((time - segment.startS) / (segment.endS - segment.startS)) * frames));
    for (let band = 0; band < bands; band++) sums[band] += bytes[(channel * bands + band) * frames + frame];
    n++;
  }
  if (!n) return;
  for (let band = 0; band < bands; band++) {
    const level = ((sums[band] / n - low) / (high - low)) * 255;
    pixels[(bands - 1 - band) * width + x] = COLOURS[Math.max(0, Math.min(255, Math.round(level)))];
  }
}

/** Where 125 Hz to 8 kHz lie on the picture: [{hz, share from the top}]; the scale of the features' bands. */
export function hertzMarks({ kind, n_bands, low_hz }, sampleRate) {
  const mel = (hz) => (hz < 1000 ? (hz * 3) / 200 : 15 + Math.log(hz / 1000) / (Math.log(6.4) / 27));
  const erb = (hz) => Math.log(hz / 9.26449 + 24.7);
  const scale = kind === "mel" ? mel : erb;
  const [low, high] = [scale(low_hz), scale(sampleRate / 2)];
  return [250, 1000, 4000, 8000, 16000]
    .filter((hz) => hz > low_hz * 1.5 && hz < sampleRate * 0.46)
    .map((hz) => ({ hz, share: 1 - (((scale(hz) - low) / (high - low)) * (n_bands + 1) - 0.5) / n_bands }));
}

/** A segment: its image, the temporal attention over it, and below what was pooled: spatial times temporal attention. */
export function drawAttention(canvas, segment, levels, channel) {
  const context = fitted(canvas);
  const [width, height] = [canvas.width, canvas.height];
  context.clearRect(0, 0, width, height);
  const member = segment?.members[0];
  if (!member) return;
  const { temporal, spatial, frames } = member;
  const top = spatial ? Math.round(height * 0.68) : height;
  const whole = new OffscreenCanvas(frames, member.bands);
  const image = new ImageData(frames, member.bands);
  const pixels = new Uint32Array(image.data.buffer);
  for (let band = 0; band < member.bands; band++) {
    for (let f = 0; f < frames; f++) {
      const level = ((member.bytes[(channel * member.bands + band) * frames + f] - levels[0]) / (levels[1] - levels[0])) * 255;
      // dimmed where the network looked away
      const weight = temporal ? 0.35 + 0.65 * Math.min(1, (temporal[f] * frames) / 1.6) : 1;
      pixels[(member.bands - 1 - band) * frames + f] = COLOURS[Math.max(0, Math.min(255, Math.round(level * weight)))];
    }
  }
  whole.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(whole, 0, 0, width, top);
  if (temporal) drawCurve(context, temporal, width, top);
  if (spatial && temporal) drawPooled(context, temporal, spatial, top + 6, width, height - top - 6);
}

function drawCurve(context, temporal, width, height) {
  const most = Math.max(2, ...temporal.map((value) => value * temporal.length));
  const y = (value) => height - 4 - ((value * temporal.length) / most) * (height - 12);
  context.lineJoin = "round";
  for (const [colour, size] of [["rgb(0 0 0 / 65%)", 6], ["#ffffff", 2.6]]) {
    context.strokeStyle = colour;
    context.lineWidth = (size * context.canvas.width) / Math.max(1, context.canvas.clientWidth) / 1.4;
    context.beginPath();
    temporal.forEach((value, f) => context.lineTo(((f + 0.5) / temporal.length) * width, y(value)));
    context.stroke();
  }
}

function drawPooled(context, temporal, spatial, top, width, height) {
  const [frames, rows] = [temporal.length, spatial.length];
  const image = new ImageData(frames, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const most = Math.max(...temporal) * Math.max(...spatial);
  for (let row = 0; row < rows; row++) {
    for (let f = 0; f < frames; f++) pixels[row * frames + f] = COLOURS[Math.round((255 * temporal[f] * spatial[row]) / most)];
  }
  const small = new OffscreenCanvas(frames, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small, 0, top, width, height);
}
