// The microphone: raw samples as they come, a recording of one sound, and WAV.

const WORKLET = new URL("capture.js", import.meta.url);
const LONGEST_S = 20;
const BLOCK_S = 0.02;
const START_MS = 8000;

function explain(error) {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    return "A browser lends its microphone only to pages from https or from this computer itself (127.0.0.1). You can still choose files.";
  }
  if (error?.name === "NotAllowedError" || error?.name === "SecurityError") {
    return "The browser was not allowed to use the microphone. Allow it in the settings of this page, or choose a file.";
  }
  if (error?.name === "NotFoundError" || error?.name === "OverconstrainedError") {
    return "No microphone was found. Plug one in, or choose a file.";
  }
  if (error?.name === "NotReadableError") {
    return "The microphone cannot be read; another program may be using it.";
  }
  return `The microphone cannot be used (${error?.message || error}).`;
}

/**
 * Opens the microphone and calls `onBlock(samples, rateHz)` for each block of `blockS` seconds.
 * @returns {Promise<{rateHz: number, close: () => void}>}
 * @throws {Error} In words for whoever wants to speak.
 */
export async function openMicrophone(onBlock, blockS = BLOCK_S) {
  let stream, context;
  const close = () => {
    stream?.getTracks().forEach((track) => track.stop());
    if (context && context.state !== "closed") context.close();
  };
  try {
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new TypeError("no microphone");
    context = new AudioContext(); // while the press of the button still counts
    // What tidies speech for telephones takes away what the model listens to.
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
    });
    await context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      processorOptions: { size: Math.round(blockS * context.sampleRate) },
    });
    let isOpen = true;
    node.port.onmessage = ({ data }) => { if (isOpen) onBlock(data, context.sampleRate); };
    context.createMediaStreamSource(stream).connect(node);
    // Where there is no loudspeaker, Firefox never starts the clock that the samples come by.
    const late = new Error("the browser’s sound does not start; it may lack a loudspeaker or headphones");
    await Promise.race([context.resume(), new Promise((_, reject) => setTimeout(reject, START_MS, late))]);
    return { rateHz: context.sampleRate, close: () => { isOpen = false; close(); } };
  } catch (error) {
    close();
    throw new Error(explain(error));
  }
}

/** Loudness of a block: its level from 0 (−60 dB) to 1 (full), and its peak. */
export function measure(samples) {
  let energy = 0;
  let peak = 0;
  for (const sample of samples) {
    energy += sample * sample;
    peak = Math.max(peak, Math.abs(sample));
  }
  const level_db = 10 * Math.log10(energy / samples.length + 1e-10);
  return { level: Math.min(1, Math.max(0, 1 + level_db / 60)), peak };
}

/** Shows a level on a meter, and on the ring around a button. */
export function showLevel(meter, button, level) {
  meter.setAttribute("aria-valuenow", Math.round(100 * level));
  meter.firstElementChild.style.transform = `scaleX(${level})`;
  button.querySelector(".ring").style.transform = `scale(${1 + 0.28 * level})`;
}

export function toInt16(samples) {
  const numbers = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) numbers[i] = Math.round(Math.min(1, Math.max(-1, samples[i])) * 32767);
  return numbers;
}

/** Blocks of samples as a WAV file, 16 bit, mono; it is little-endian, as all machines with a browser are. */
function encodeWav(blocks, rateHz) {
  const numBytes = 2 * blocks.reduce((sum, block) => sum + block.length, 0);
  const header = new Uint32Array([
    0x46464952, 36 + numBytes, 0x45564157, // RIFF, WAVE
    0x20746d66, 16, 0x10001, rateHz, 2 * rateHz, 0x100002, // fmt: PCM, one channel; 2 bytes a frame, 16 bit
    0x61746164, numBytes, // data
  ]);
  return new Blob([header, ...blocks.map(toInt16)], { type: "audio/wav" });
}

/** One recording with a button: press to begin, press to end. */
export class Recorder {
  /** `handlers`: onState("off"|"opening"|"on"), onBlock(level, peaks, seconds), onSound({name, blob}, since), onError(error). */
  constructor(handlers) {
    this.handlers = handlers;
    this.state = "off";
  }

  toggle() {
    if (this.state === "off") this.start();
    else this.stop();
  }

  async start() {
    this.#change("opening");
    const attempt = (this.attempt = {});
    const blocks = [];
    const peaks = [];
    let seconds = 0;
    let rate = 0;
    try {
      const microphone = await openMicrophone((samples, rateHz) => {
        if (this.attempt !== attempt) return;
        if (this.state === "opening") this.#change("on");
        blocks.push(samples);
        const { level, peak } = measure(samples);
        peaks.push(peak);
        rate = rateHz;
        seconds += samples.length / rateHz;
        this.handlers.onBlock?.(level, peaks, seconds);
        if (seconds >= LONGEST_S) this.stop();
      });
      if (this.attempt !== attempt) return microphone.close(); // ended before it began
      this.finish = () => {
        // The sound goes out first; closing the microphone takes its time.
        const since = performance.now();
        if (blocks.length) this.handlers.onSound({ name: "recording", blob: encodeWav(blocks, rate) }, since);
        microphone.close();
      };
    } catch (error) {
      if (this.attempt !== attempt) return;
      this.attempt = null;
      this.#change("off");
      this.handlers.onError(error);
    }
  }

  stop() {
    if (this.state === "off") return;
    const finish = this.finish;
    this.attempt = this.finish = null;
    this.#change("off");
    finish?.();
  }

  #change(state) {
    this.state = state;
    this.handlers.onState(state);
  }
}
