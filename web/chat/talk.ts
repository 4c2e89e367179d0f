// A conversation by voice: OpenAI's realtime protocol with this server, told as messages of the conversation.
import { hasVoice, sentenceOf, talkSocket } from "./api";
import { askKey } from "./dialogs";
import { Sound } from "./sound";
import type { Conversation, Message } from "./types";

export type TalkState = "connecting" | "listening" | "hearing" | "thinking" | "speaking";

export interface TalkEvents {
  /** Messages have changed: only the last one, or others, too. */
  changed(onlyLast: boolean): void;
  state(state: TalkState): void;
  /** A fault that ends it, or only a turn of it, in a sentence. */
  fault(sentence: string): void;
  /** It is over: nothing more comes. */
  ended(): void;
}

/** An event of the server's, as far as the page needs it. */
interface ServerEvent {
  type: string;
  item_id?: string;
  delta?: string;
  transcript?: string;
  item?: { id: string };
  response?: {
    status: string;
    status_details?: { error?: { message?: string } } | null;
    output: { content: { transcript?: string; text?: string }[] }[];
  };
  error?: { message?: string };
}

/** The messages that the model is told of when the talk begins. */
const mostBefore = 64;

export class Talk {
  private socket: WebSocket | undefined;
  private sound: Sound | undefined;
  private over = false;
  private opened = false;
  private readonly questions = new Map<string, Message>(); // by the item's id, while they are understood
  private answer: Message | undefined; // that is being made
  private lastAnswer: { id: string; message: Message } | undefined;
  private answerId = "";
  private begin = 0; // of waiting for the answer
  private ticker = 0;

  constructor(
    private readonly conversation: Conversation,
    private readonly model: string | undefined,
    private readonly events: TalkEvents,
  ) {}

  /** Must follow a click: the browser lets a page play sound only then. */
  async start(): Promise<void> {
    this.events.state("connecting");
    try {
      this.sound = await Sound.open((samples) => this.send({ type: "input_audio_buffer.append", audio: base64Of(samples) }));
    } catch (error) {
      this.events.fault(error instanceof Error ? error.message : String(error));
      return this.stop();
    }
    if (this.over) return this.sound.close();
    this.connect();
    this.ticker = window.setInterval(() => this.look(), 150);
  }

  stop(): void {
    if (this.over) return;
    this.over = true;
    clearInterval(this.ticker);
    this.sound?.close();
    this.socket?.close(1000);
    for (const message of this.questions.values()) if (message.content === "") this.drop(message);
    if (this.answer) this.endAnswer("stopped");
    this.events.ended();
  }

  private connect(): void {
    const socket = talkSocket(this.model);
    this.socket = socket;
    socket.onopen = () => {
      this.opened = true;
      this.greet();
      this.events.state("listening");
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      if (!this.over) this.hear(JSON.parse(event.data) as ServerEvent);
    };
    socket.onclose = (event) => {
      if (this.over) return;
      if (!this.opened) return void this.explain();
      this.events.fault(event.reason === "" ? "The connection broke off." : `The server ended the talk: ${event.reason}.`);
      this.stop();
    };
  }

  /** The browser does not say why a socket was refused; the server does, elsewhere. */
  private async explain(): Promise<void> {
    try {
      if (await hasVoice()) this.events.fault("The server takes no further conversation by voice now.");
      else this.events.fault("The server has no voice.");
    } catch (error) {
      if (error instanceof Error && "status" in error && error.status === 401 && (await askKey())) {
        if (!this.over) this.connect();
        return;
      }
      this.events.fault(sentenceOf(error));
    }
    this.stop();
  }

  private send(event: object): void {
    if (this.opened && this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  private greet(): void {
    const { system, sampling, messages } = this.conversation;
    const most = sampling.max_tokens === undefined ? {} : { max_output_tokens: sampling.max_tokens };
    this.send({ type: "session.update", session: { type: "realtime", instructions: system.trim(), ...most } });
    for (const { role, content } of messages.filter((message) => message.content !== "").slice(-mostBefore))
      this.send({
        type: "conversation.item.create",
        item: { type: "message", role, content: [{ type: role === "user" ? "input_text" : "output_text", text: content }] },
      });
  }

  private hear(event: ServerEvent): void {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.sound?.silence();
        this.events.state("hearing");
        break;
      case "input_audio_buffer.speech_stopped":
        this.begin = performance.now();
        this.events.state("thinking");
        break;
      case "conversation.item.input_audio_transcription.delta":
        this.understand(event.item_id ?? "", event.transcript ?? "", false);
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.understand(event.item_id ?? "", event.transcript ?? "", true);
        break;
      case "response.created":
        this.answer = { role: "assistant", content: "", end: "going", model: this.model };
        this.conversation.messages.push(this.answer);
        this.events.changed(false);
        break;
      case "response.output_item.added":
        this.answerId = event.item?.id ?? "";
        break;
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        if (!this.answer) break;
        this.answer.content += event.delta ?? "";
        this.answer.stats ??= { tokens: 0, prompt: 0, rate: 0, first: performance.now() - this.begin };
        this.events.changed(true);
        break;
      case "response.output_audio.delta":
        this.sound?.play(samplesOf(event.delta ?? ""));
        this.events.state("speaking");
        break;
      case "response.done":
        this.finish(event);
        break;
      case "conversation.item.truncated":
        this.cut(event);
        break;
      case "error":
        this.events.fault(sentenceOf(new Error(event.error?.message ?? "The server reports an error")));
        break;
    }
  }

  /** What was said, as far as it is understood. */
  private understand(id: string, text: string, final: boolean): void {
    let message = this.questions.get(id);
    const fresh = message === undefined;
    if (!message) {
      if (text === "") return this.events.state(final ? "listening" : "hearing");
      message = { role: "user", content: text };
      this.questions.set(id, message);
      this.conversation.messages.push(message);
    }
    message.content = text;
    if (final) this.questions.delete(id);
    if (final && text === "") {
      this.drop(message);
      this.events.state("listening");
    }
    this.events.changed(!fresh && text !== "" && this.conversation.messages.at(-1) === message);
  }

  private drop(message: Message): void {
    const at = this.conversation.messages.indexOf(message);
    if (at >= 0) this.conversation.messages.splice(at, 1);
  }

  private finish(event: ServerEvent): void {
    const { response } = event;
    if (!this.answer || !response) return;
    const part = response.output[0]?.content[0];
    if (response.status === "cancelled") {
      this.answer.content = part?.transcript ?? part?.text ?? ""; // as far as it was heard
      this.sound?.silence();
    }
    if (response.status === "failed")
      this.answer.error = sentenceOf(new Error(response.status_details?.error?.message ?? "The answer failed"));
    this.endAnswer(response.status === "completed" ? "done" : response.status === "failed" ? "error" : "stopped");
  }

  /** Of an answer that was all there, and not all heard. */
  private cut(event: ServerEvent): void {
    const { lastAnswer } = this;
    if (!lastAnswer || lastAnswer.id !== event.item_id || event.transcript === undefined) return;
    lastAnswer.message.content = event.transcript;
    lastAnswer.message.end = "stopped";
    this.events.changed(false);
  }

  private endAnswer(end: "done" | "stopped" | "error"): void {
    const message = this.answer as Message;
    this.answer = undefined;
    message.end = end;
    this.lastAnswer = { id: this.answerId, message };
    if (message.content === "" && message.error === undefined) this.drop(message);
    this.events.changed(false);
  }

  /** Once the answer was heard, it is the visitor's turn. */
  private look(): void {
    if (!this.sound?.playing() && !this.answer && this.lastAnswer && this.questions.size === 0) this.events.state("listening");
  }
}

function base64Of(bytes: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)));
}

function samplesOf(base64: string): Int16Array {
  const text = atob(base64);
  const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}
