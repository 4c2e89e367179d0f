// A worker that all pages of one browser share: it holds the one stream. Browsers allow six connections to a server in
// all, so that a page with a stream of its own would be one of six at most.
import { listen, Memory, type LiveEvent } from "./events";

/** What pages say: "here" upon their beginning and each event, "gone" where they are left. */
export type Word = "here" | "gone";
/** What they hear. */
export type Heard = LiveEvent | { name: "hello" };

const most = 40; // words that a page may leave unanswered, a minute of them: it is gone, or the browser has it sleep

const unanswered = new Map<MessagePort, number>();
const memory = new Memory();

function welcome(port: MessagePort): void {
  unanswered.set(port, 0);
  for (const event of memory.all()) port.postMessage(event);
}

function join(port: MessagePort): void {
  port.onmessage = ({ data }: MessageEvent<Word>) => {
    if (data === "gone") unanswered.delete(port);
    else if (unanswered.has(port)) unanswered.set(port, 0);
    else welcome(port);
  };
  port.postMessage({ name: "hello" } satisfies Heard);
  welcome(port);
}

function tellAll(words: Heard): void {
  for (const [port, count] of unanswered) {
    port.postMessage(words);
    if (count < most) unanswered.set(port, count + 1);
    else unanswered.delete(port);
  }
}

(self as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = ({ ports }) => join(ports[0]!);
listen((event) => {
  memory.take(event);
  tellAll(event);
});
setInterval(() => tellAll({ name: "hello" }), 10_000); // also where there is nothing to tell
