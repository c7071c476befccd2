// WAV files read piece by piece from the disk, so that a recording of any length takes little memory; and written.

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
const UNKNOWN = [0, 0xffffffff, 0x7fffffff]; // lengths that a program writes which does not know them yet

/** Open a WAV file: {rate, channels, frames, float, promised, blocks(n)}; null if it is none that is read here. */
export async function openWav(file) {
  const head = new DataView(await file.slice(0, 12).arrayBuffer());
  if (head.byteLength < 12 || !["RIFF", "RF64"].includes(tag(head, 0)) || tag(head, 8) !== "WAVE") return null;
  let [at, form, long] = [12, null, null];
  for (;;) {
    const chunk = new DataView(await file.slice(at, at + 8).arrayBuffer());
    if (chunk.byteLength < 8) return null;
    const [name, size] = [tag(chunk, 0), chunk.getUint32(4, true)];
    if (name === "data") {
      if (!form) return null;
      const promised = long ?? (UNKNOWN.includes(size) ? file.size - at - 8 : size);
      return reader(file, form, at + 8, promised);
    }
    const content = new DataView(await file.slice(at + 8, at + 8 + Math.min(size, 64)).arrayBuffer());
    if (name === "fmt ") form = formOf(content);
    if (name === "ds64" && content.byteLength >= 16) long = Number(content.getBigUint64(8, true));
    if (name === "fmt " && !form) return null;
    at += 8 + size + (size % 2);
  }
}

function tag(view, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
}

function formOf(view) {
  if (view.byteLength < 16) return null;
  let kind = view.getUint16(0, true);
  if (kind === EXTENSIBLE && view.byteLength >= 26) kind = view.getUint16(24, true);
  const [channels, rate, block] = [view.getUint16(2, true), view.getUint32(4, true), view.getUint16(12, true)];
  const width = block / channels;
  const known = (kind === PCM && [1, 2, 3, 4].includes(width)) || (kind === FLOAT && [4, 8].includes(width));
  return known ? { channels, rate, block, width, float: kind === FLOAT } : null;
}

function reader(file, form, start, promised) {
  const bytes = Math.min(promised, file.size - start);
  const frames = Math.floor(bytes / form.block);
  return {
    ...form,
    frames,
    promised: Math.floor(promised / form.block),
    async *blocks(n) {
      for (let from = 0; from < frames; from += n) {
        const to = Math.min(frames, from + n);
        const content = await file.slice(start + from * form.block, start + to * form.block).arrayBuffer();
        yield samplesOf(new DataView(content), to - from, form);
      }
    },
  };
}

/** Samples of each channel; integers are scaled to [-1, 1). */
function samplesOf(view, frames, { channels, width, float, block }) {
  const read = {
    i1: (at) => (view.getUint8(at) - 128) / 128,
    i2: (at) => view.getInt16(at, true) / 32768,
    i3: (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608,
    i4: (at) => view.getInt32(at, true) / 2147483648,
    f4: (at) => view.getFloat32(at, true),
    f8: (at) => view.getFloat64(at, true),
  }[(float ? "f" : "i") + width];
  return Array.from({ length: channels }, (_, channel) => {
    const samples = new Float32Array(frames);
    for (let i = 0; i < frames; i++) samples[i] = read(i * block + channel * width);
    return samples;
  });
}

/** The header of a mono WAV file of 16 bits. */
export function wavHeader(rate, frames) {
  const view = new DataView(new ArrayBuffer(44));
  const put = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + 2 * frames, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, PCM, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  put(36, "data");
  view.setUint32(40, 2 * frames, true);
  return view.buffer;
}

/** Bits of a sample of a FLAC; 0 for other files. */
export function flacBits(buffer) {
  const bytes = new Uint8Array(buffer);
  return bytes.length > 42 && tag(new DataView(buffer), 0) === "fLaC" ? (((bytes[20] & 1) << 4) | (bytes[21] >> 4)) + 1 : 0;
}

/** The sample rate that the header of a compressed file states, so that the browser need not change it; null if unknown. */
export function statedRate(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const find = (text, most) => {
    const code = [...text].map((c) => c.charCodeAt(0));
    const end = Math.min(bytes.length - code.length - 40, most);
    for (let i = 0; i < end; i++) if (code.every((c, j) => bytes[i + j] === c)) return i;
    return -1;
  };
  if (bytes.length < 64) return null;
  if (tag(view, 0) === "fLaC") return (bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4);
  if (tag(view, 0) === "OggS") {
    const vorbis = find("\x01vorbis", 4096);
    return vorbis >= 0 ? view.getUint32(vorbis + 12, true) : find("OpusHead", 4096) >= 0 ? 48000 : null;
  }
  if (tag(view, 4) === "ftyp") {
    const entry = find("mp4a", bytes.length); // its sample rate is in 16.16 bits
    return entry >= 0 ? view.getUint16(entry + 28) || null : null;
  }
  if (view.getUint32(0) === 0x1a45dfa3) return 48000; // WebM holds Opus as a rule
  return mpegRate(bytes);
}

function mpegRate(bytes) {
  let at = 0;
  if (String.fromCharCode(bytes[0], bytes[1], bytes[2]) === "ID3") {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return null;
  const [version, index] = [(bytes[at + 1] >> 3) & 3, (bytes[at + 2] >> 2) & 3];
  if (((bytes[at + 1] >> 1) & 3) === 0) {
    return [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000][(bytes[at + 2] >> 2) & 15] ?? null;
  }
  const rate = [44100, 48000, 32000][index];
  return rate ? rate / { 3: 1, 2: 2, 0: 4 }[version] || null : null;
}
