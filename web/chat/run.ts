// One answer being written: from the request to its last token.
import { ApiError, chat, sentenceOf, type Chunk } from "./api";
import { askKey } from "./dialogs";
import type { Conversation, Message } from "./types";

/** Between two looks at the growing text, in milliseconds: at least so long, and most of the time is not theirs. */
const frame = 60;
const share = 4;

export interface RunEvents {
  /** There is more of the message. */
  changed(): void;
}

/** What the model reads: the system prompt, and what was said before. */
function wordsFor(conversation: Conversation, goOn: boolean): { role: string; content: string }[] {
  const before = goOn ? conversation.messages : conversation.messages.slice(0, -1);
  const said = before.filter((message) => message.content !== "").map(({ role, content }) => ({ role, content }));
  const system = conversation.system.trim();
  return system === "" ? said : [{ role: "system", content: system }, ...said];
}

export class Run {
  private readonly abort = new AbortController();
  private readonly begin = performance.now();
  private firstWord = 0; // when it came
  private pieces = 0;
  private timer = 0;
  private look = frame;
  private readonly before: number; // tokens that were there when it went on

  /** Writes into `message`, the last of the conversation; `goOn`: behind what stands there. */
  constructor(
    private readonly conversation: Conversation,
    private readonly message: Message,
    private readonly goOn: boolean,
    private readonly events: RunEvents,
  ) {
    this.before = goOn ? (message.stats?.tokens ?? 0) : 0;
  }

  stop(): void {
    this.abort.abort();
  }

  /** Resolves when there will be no more; never rejects. */
  async go(model: string | undefined): Promise<void> {
    const message = this.message;
    message.end = "going";
    delete message.error;
    try {
      await this.read(model);
    } catch (error) {
      if (this.abort.signal.aborted) {
        message.end = "stopped";
      } else {
        message.end = "error";
        message.error = sentenceOf(error);
      }
    }
    if (message.end === "going") message.end = "done";
    clearTimeout(this.timer);
  }

  private async read(model: string | undefined): Promise<void> {
    const { conversation, goOn } = this;
    const request = { model, messages: wordsFor(conversation, goOn), sampling: conversation.sampling, goOn };
    try {
      for await (const chunk of chat(request, this.abort.signal)) this.take(chunk);
    } catch (error) {
      const again = error instanceof ApiError && error.status === 401 && (await askKey());
      if (!again) throw error;
      await this.read(model);
    }
  }

  private take(chunk: Chunk): void {
    const { message } = this;
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? "";
    const now = performance.now();
    if (text !== "") {
      if (this.pieces++ === 0) this.firstWord = now;
      message.content += text;
    }
    if (choice?.finish_reason) message.end = choice.finish_reason === "length" ? "length" : "done";
    const seconds = (now - this.firstWord) / 1000;
    const stats = (message.stats ??= { tokens: 0, prompt: 0, rate: 0, first: 0 });
    if (this.pieces > 0) {
      stats.first = this.firstWord - this.begin;
      // Until the server's own figures come with the last chunk: a piece is a token, most often.
      stats.tokens = this.before + this.pieces;
      if (this.pieces > 1 && seconds > 0) stats.rate = (this.pieces - 1) / seconds;
    }
    if (chunk.usage) {
      stats.tokens = this.before + (chunk.usage.completion_tokens ?? 0);
      stats.prompt = (chunk.usage.prompt_tokens ?? 0) - this.before;
    }
    if (chunk.timings?.predicted_per_second) stats.rate = chunk.timings.predicted_per_second;
    this.timer ||= window.setTimeout(() => {
      this.timer = 0;
      const begin = performance.now();
      this.events.changed();
      this.look = Math.max(frame, share * (performance.now() - begin));
    }, this.look);
  }
}
