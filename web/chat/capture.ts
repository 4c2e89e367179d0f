// In the audio thread: the microphone's sound as PCM16 of 24,000 samples a second, in parts of 40 ms.
declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

const rate = 24_000;
const part = 960;

class Capture extends AudioWorkletProcessor {
  private out = new Int16Array(part);
  private have = 0;
  private at = 0; // of the next sample, in samples of the microphone's that came with this block
  private last = 0; // sample before them

  process(inputs: Float32Array[][]): boolean {
    const block = inputs[0]?.[0];
    if (!block) return true; // the microphone gives nothing just now
    const step = sampleRate / rate;
    for (; this.at < block.length; this.at += step) {
      const index = Math.floor(this.at);
      const before = index === 0 ? this.last : (block[index - 1] as number);
      const value = before + ((block[index] as number) - before) * (this.at - index);
      this.out[this.have++] = Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
      if (this.have === part) {
        this.port.postMessage(this.out.buffer, [this.out.buffer]);
        this.out = new Int16Array(part);
        this.have = 0;
      }
    }
    this.at -= block.length;
    this.last = block[block.length - 1] as number;
    return true;
  }
}

registerProcessor("capture", Capture);

export {};
