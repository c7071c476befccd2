// The microphone, in the browser's audio thread: samples of every channel are handed to the page in blocks.

const BLOCK = 4096;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = [];
    this.n = 0;
    this.on = true;
    this.port.onmessage = () => {
      this.send();
      this.port.postMessage(null); // the end
      this.on = false;
    };
  }

  process([channels]) {
    if (!this.on) return false;
    if (channels.length) {
      if (this.held.length !== channels.length) {
        this.send();
        this.held = channels.map(() => new Float32Array(BLOCK));
      }
      channels.forEach((samples, i) => this.held[i].set(samples, this.n));
      this.n += channels[0].length;
      if (this.n === BLOCK) this.send();
    }
    return true;
  }

  send() {
    if (!this.n) return;
    const channels = this.held.map((samples) => samples.slice(0, this.n));
    this.port.postMessage(channels, channels.map((samples) => samples.buffer));
    this.n = 0;
  }
}

registerProcessor("recorder", Recorder);
