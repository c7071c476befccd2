// The microphone, without what browsers do to voices: echo cancellation, noise suppression and gain control destroy scenes.

import { wavHeader } from "./wav.js";

const OFF = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const PER_PART_S = 60; // of the recording that is handed to the browser at a time, which may keep it on the disk

export class Microphone {
  /** `onBlock(channels)` for each block of samples, `onLevel(share)` for a meter, `onEnd()` if the device goes away. */
  async start({ onBlock, onLevel, onEnd }) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("the browser gives a microphone to pages by https or from localhost only; open the page that way");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: OFF });
    } catch (error) {
      throw new Error(reasonOf(error));
    }
    const [track] = this.stream.getAudioTracks();
    track.onended = onEnd;
    this.settings = track.getSettings();
    this.context = new AudioContext();
    this.rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
    this.node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    this.source = this.context.createMediaStreamSource(this.stream);
    Object.assign(this, { onBlock, onLevel, parts: [], held: [], nHeld: 0, n: 0 });
  }

  /** Samples come from now on. */
  listen() {
    this.node.port.onmessage = ({ data }) => (data ? this.receive(data) : this.ended?.());
    this.source.connect(this.node);
    return this.context.resume();
  }

  /** What the browser does to the sound although it was told not to. */
  get notes() {
    const on = Object.keys(OFF).filter((name) => this.settings[name] === true);
    const words = on.map((name) => name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`)).join(", ");
    return on.length ? [`this browser leaves ${words} on, which changes the sound of scenes; the prediction may be wrong`] : [];
  }

  receive(channels) {
    let peak = 0;
    const mono = new Int16Array(channels[0].length);
    for (let i = 0; i < mono.length; i++) {
      let sum = 0;
      for (const samples of channels) sum += samples[i];
      const value = sum / channels.length;
      peak = Math.max(peak, Math.abs(value));
      mono[i] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
    }
    this.held.push(mono);
    this.nHeld += mono.length;
    this.n += mono.length;
    if (this.nHeld >= PER_PART_S * this.rate) this.keep();
    this.onLevel(peak ? Math.max(0, 1 + (20 * Math.log10(peak)) / 60) : 0);
    this.onBlock(channels);
  }

  keep() {
    this.parts.push(new Blob(this.held));
    [this.held, this.nHeld] = [[], 0];
  }

  /** Let go of the microphone; returns the recording as a WAV file of 16 bits. */
  async stop(name) {
    await new Promise((resolve) => {
      this.ended = resolve;
      this.node.port.postMessage(null);
      setTimeout(resolve, 1000);
    });
    this.release();
    this.keep();
    return new File([wavHeader(this.rate, this.n), ...this.parts], name, { type: "audio/wav" });
  }

  release() {
    this.source?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}

function reasonOf({ name, message }) {
  const reasons = {
    NotAllowedError: "the microphone was not allowed; allow it in the browser's address bar and try again",
    NotFoundError: "there is no microphone; is one connected?",
    NotReadableError: "the microphone cannot be opened; does another program use it?",
  };
  return reasons[name] ?? `the microphone cannot be opened (${message})`;
}
