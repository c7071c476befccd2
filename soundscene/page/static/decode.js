// Files that the browser decodes: anything but WAV.

import { flacBits, statedRate } from "./wav.js";

const LONGEST_DECODED_S = 3600; // of a compressed file, which the browser decodes at once into memory

/** Decode by the browser, at the rate that the file states; throws an Error with one line. */
export async function decodeFile(file, modelRate) {
  const duration = await statedDuration(file);
  if (duration > LONGEST_DECODED_S) {
    const hours = (duration / 3600).toFixed(1);
    throw new Error(`lasts ${hours} h, and a browser decodes one hour at most; WAV files are read at any length, as is all by \`soundscene predict\``);
  }
  const content = await file.arrayBuffer();
  if (!content.byteLength) throw new Error("is empty; was the copy interrupted?");
  const rate = statedRate(content) ?? modelRate;
  const bits = flacBits(content);
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
  } catch {
    throw new Error("is no sound that this browser can decode; WAV, FLAC, MP3, OGG and M4A are usual");
  }
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i).slice());
  if (bits > 0 && bits <= 16) channels.forEach(unbend);
  return { rate: decoded.sampleRate, channels };
}

/**
 * Chromium divides positive samples of 16 bits by 32767 and negative ones by 32768. That bends loud sound by -96 dB, which
 * shows in bands that are quiet beside others. Samples that are divided by 32768 already stay as they are.
 */
export function unbend(samples) {
  const bent = (x) => Math.abs(x * 32767 - Math.round(x * 32767)) < 0.01;
  if (!samples.every((x) => x <= 0 || bent(x))) return;
  for (let i = 0; i < samples.length; i++) if (samples[i] > 0) samples[i] = Math.round(samples[i] * 32767) / 32768;
}

/** Seconds as the player reads them, without decoding; 0 where it cannot tell. */
function statedDuration(file) {
  return new Promise((resolve) => {
    const player = new Audio();
    const url = URL.createObjectURL(file);
    const end = (seconds) => {
      URL.revokeObjectURL(url);
      resolve(Number.isFinite(seconds) ? seconds : 0);
    };
    player.preload = "metadata";
    player.onloadedmetadata = () => end(player.duration);
    player.onerror = () => end(0);
    setTimeout(() => end(0), 3000);
    player.src = url;
  });
}
