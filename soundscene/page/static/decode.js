// Files that the browser decodes: anything but WAV.

import { statedRate } from "./wav.js";

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
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
  } catch {
    throw new Error("is no sound that this browser can decode; WAV, FLAC, MP3, OGG and M4A are usual");
  }
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i).slice());
  return { rate: decoded.sampleRate, channels };
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
