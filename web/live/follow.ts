// The stream of events, shared with the other pages of this browser where it can be.
import { listen, type LiveEvent } from "./events";
import type { Heard, Word } from "./feed";

const forHello = 3000; // ms until a worker that says nothing is given up
const forWord = 45_000; // until one that spoke is looked for again: it says something every 10 s

/** Goes on for ever. `use` may hear the same again. */
export function follow(use: (event: LiveEvent) => void): void {
  let worker: SharedWorker | null = null;
  const say = (word: Word) => worker?.port.postMessage(word);
  const leave = () => {
    say("gone");
    worker?.port.close();
    worker = null;
  };
  let alone = false;
  const beAlone = () => {
    leave();
    if (!alone) listen(use);
    alone = true;
  };
  const share = () => {
    leave();
    try {
      // Pages and workers that speak in another way are of another name, and keep to themselves.
      const mine = new SharedWorker(new URL("./feed.ts", import.meta.url), { type: "module", name: "1bit-live-1" });
      let timer = setTimeout(beAlone, forHello);
      mine.onerror = () => mine === worker && beAlone();
      mine.port.onmessage = ({ data }: MessageEvent<Heard>) => {
        clearTimeout(timer);
        if (mine !== worker) return;
        timer = setTimeout(share, forWord);
        say("here");
        if (data.name !== "hello") use(data);
      };
      worker = mine;
    } catch {
      beAlone(); // there are none in this browser, or storage is forbidden and with it workers
    }
  };
  share();
  addEventListener("pagehide", () => say("gone"));
  addEventListener("pageshow", ({ persisted }) => persisted && say("here"));
}
