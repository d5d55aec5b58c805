// Runs beside the page, in the audio thread: gathers the microphone's samples and hands them over in blocks.
class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.block = new Float32Array(processorOptions.size);
    this.filled = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block); // a copy is made of it
        this.filled = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
