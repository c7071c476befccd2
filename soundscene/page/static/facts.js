// What a model file says of itself: its metadata are texts of JSON in the ONNX file, which ONNX Runtime does not show here.

const METADATA = 14; // field of ModelProto that holds pairs of texts

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  number() {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) throw new Error("the file is cut short");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  }

  /** The next field: its number, and its bytes where it has any. */
  field() {
    const key = this.number();
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) return this.number(), { number };
    const length = kind === 2 ? this.number() : { 1: 8, 5: 4 }[kind];
    if (length === undefined || this.at + length > this.bytes.length) throw new Error("the file is damaged");
    const content = this.bytes.subarray(this.at, (this.at += length));
    return { number, content };
  }

  get more() {
    return this.at < this.bytes.length;
  }
}

function metadataOf(bytes) {
  const [reader, found, text] = [new Reader(bytes), {}, new TextDecoder()];
  while (reader.more) {
    const { number, content } = reader.field();
    if (number !== METADATA || !content) continue;
    const [pair, entry] = [new Reader(content), {}];
    while (pair.more) {
      const part = pair.field();
      entry[part.number] = text.decode(part.content);
    }
    found[entry[1]] = entry[2];
  }
  return found;
}

/** The facts of a model of soundscene in ONNX. Throws an Error with one line for anything else. */
export function factsOf(bytes) {
  let values;
  try {
    values = Object.fromEntries(Object.entries(metadataOf(bytes)).map(([name, text]) => [name, JSON.parse(text)]));
  } catch (error) {
    throw new Error(`the model file cannot be read (${error.message}); export it again`);
  }
  if (values.format !== "soundscene graph") throw new Error("the file is no model of soundscene; `soundscene export` makes one");
  if (values.version !== 1) throw new Error(`the model is of format ${values.version}, this page reads 1; export both again`);
  if (values.form !== "stateful") throw new Error("the model takes whole recordings (--whole); export it without --whole");
  return {
    scenes: values.scenes,
    sampleRate: values.sample_rate,
    segmentSamples: values.segment_samples,
    segmentS: values.segment_samples / values.sample_rate,
    head: values.head,
    temperature: values.temperature[values.head],
    prior: values.prior[values.head],
    trainedWith: values.front_end,
    familiar: values.familiarity !== null,
    threshold: values.threshold,
    usual: values.training_range,
    members: values.members.map(({ name, recipe }) => ({ name, features: recipe.features })),
    weights: values.weights,
    digest: values.model_sha256,
  };
}
