// The microphone and the loudspeaker.
import captureUrl from "./capture.ts?worker&url";

const rate = 24_000;
/** Seconds between what comes and what is heard of it: less than so much may be late without a gap. */
const ahead = 0.05;

/** Why this page cannot have the microphone; undefined where it may. */
export function whyNoMicrophone(): string | undefined {
  if (!window.isSecureContext)
    return "The browser gives the microphone to secure pages only: open this one by https, or as http://localhost.";
  if (!("mediaDevices" in navigator) || !("AudioWorkletNode" in window)) return "This browser has no microphone for pages.";
  return undefined;
}

function sentenceOf(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The browser does not let this page use the microphone.";
  if (name === "NotFoundError") return "There is no microphone.";
  return "The microphone cannot be used.";
}

export class Sound {
  private sources = new Set<AudioBufferSourceNode>();
  private end = 0; // of what is to be played, in the context's time

  private constructor(
    private readonly stream: MediaStream,
    private readonly context: AudioContext,
  ) {}

  /** Asks for the microphone; `heard` gets its samples from then on. Throws an Error whose message is a sentence. */
  static async open(heard: (samples: ArrayBuffer) => void): Promise<Sound> {
    let stream: MediaStream | undefined;
    let context: AudioContext | undefined;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
      context = new AudioContext(); // of its own rate: not every browser takes a microphone into another's
      await context.audioWorklet.addModule(captureUrl);
      const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
      capture.port.onmessage = (event: MessageEvent<ArrayBuffer>) => heard(event.data);
      context.createMediaStreamSource(stream).connect(capture);
      await context.resume();
      return new Sound(stream, context);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      void context?.close();
      throw new Error(sentenceOf(error));
    }
  }

  /** Plays it behind what there is. */
  play(samples: Int16Array): void {
    if (samples.length === 0 || this.context.state === "closed") return;
    const buffer = this.context.createBuffer(1, samples.length, rate);
    const values = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; ++i) values[i] = (samples[i] as number) / 32768;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const begin = this.end > this.context.currentTime ? this.end : this.context.currentTime + ahead;
    source.start(begin);
    this.end = begin + buffer.duration;
    this.sources.add(source);
    source.onended = () => this.sources.delete(source);
  }

  /** Nothing of what there is is heard any more. */
  silence(): void {
    for (const source of this.sources) source.stop();
    this.sources.clear();
    this.end = 0;
  }

  playing(): boolean {
    return this.end > this.context.currentTime;
  }

  close(): void {
    this.silence();
    this.stream.getTracks().forEach((track) => track.stop());
    void this.context.close();
  }
}
