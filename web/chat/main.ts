// The chat page: what belongs together.
import { editSettings, setUpSettings, showKeyboard } from "./dialogs";
import { find, say, toast } from "./dom";
import { List } from "./list";
import { setUpSide, setUpTheme, showSide } from "./look";
import { Run } from "./run";
import { lookAgain, model, watch } from "./status";
import { headOf, load, loadAll, openStore, put, recall, remember, remove, save, set } from "./store";
import { whyNoMicrophone } from "./sound";
import { Talk, type TalkState } from "./talk";
import { setUpTabs, tellWriting, writtenElsewhere } from "./tabs";
import { isEdited, setUpThread, showLast, showThread } from "./thread";
import { firstSampling, newConversation, newId, titleOf, type Conversation, type End, type Message } from "./types";
import { conversationOf, exported, imported } from "./validate";

/** All that have messages, by id; `current` may have none yet. */
const all = new Map<string, Conversation>();
/** What writes in a conversation: an answer, or a talk. */
interface Writer {
  stop(): void;
}
const runs = new Map<string, Writer>();
let current: Conversation;
let talk: { talk: Talk; conversation: Conversation } | undefined;

const prompt = find<HTMLTextAreaElement>("prompt");
const sendButton = find<HTMLButtonElement>("send");
const talkButton = find<HTMLButtonElement>("talk");

const list = new List({
  choose(id) {
    const one = all.get(id);
    if (one) open(one);
    showSide(false);
  },
  rename(id, title) {
    const one = all.get(id);
    if (!one) return;
    one.title = title;
    void set(id, { title });
    draw();
  },
  remove(id) {
    const one = all.get(id);
    if (!one) return;
    halt(id);
    all.delete(id);
    void remove(id);
    if (current.id === id) open(fresh());
    draw();
    toast(`“${one.title}” is deleted.`, { label: "Undo", click: () => bringBack(one) });
  },
});

/** A conversation as those left it who used the page last. */
function fresh(): Conversation {
  try {
    const last = JSON.parse(recall("settings") ?? "") as object;
    const settings = conversationOf({ ...last, id: "-", messages: [{ role: "user", content: "" }] });
    if (settings) return newConversation(settings.system, settings.sampling);
  } catch {
    // Nobody has, or what is there is no JSON.
  }
  return newConversation("", firstSampling());
}

const noRoom = () => toast("The browser has no room to keep this conversation.");

async function keep(one: Conversation): Promise<void> {
  try {
    const saved = await save(one);
    if (saved === "written elsewhere") await part(one);
    if (saved === "deleted elsewhere") forget(one.id);
  } catch {
    noRoom();
  }
}

/** Another tab wrote in it at the same moment: what was said here goes on as a conversation of its own. */
async function part(one: Conversation): Promise<void> {
  const old = one.id;
  if (all.get(old) !== one) return; // done already
  all.delete(old);
  const run = runs.get(old);
  rests(old);
  one.id = newId();
  one.rev = 0;
  all.set(one.id, one);
  if (run) writes(one.id, run);
  if (current === one) open(one);
  toast("Another tab wrote here at the same moment. What you wrote is a conversation of its own now.");
  await keep(one);
  await update([old]);
}

/** Another tab has deleted it. */
function forget(id: string): void {
  const one = all.get(id);
  if (!one) return;
  halt(id);
  all.delete(id);
  if (current.id !== id) return draw();
  open(fresh());
  toast(`“${one.title}” was deleted in another tab.`);
}

function bringBack(one: Conversation): void {
  all.set(one.id, one);
  void put(one).catch(noRoom);
  open(one);
}

/** Says so where another tab writes an answer in the conversation that is shown. */
function busy(): boolean {
  const is = writtenElsewhere(current.id);
  if (is) toast("Another tab is writing an answer here: wait for it, or stop it there.");
  return is;
}

function writes(id: string, run: Writer): void {
  runs.set(id, run);
  tellWriting(id, true);
}

function rests(id: string): void {
  if (runs.delete(id)) tellWriting(id, false);
}

function open(one: Conversation): void {
  if (talk && talk.conversation !== one) talk.talk.stop(); // the microphone is for what is in sight
  current = one;
  history.replaceState(null, "", all.has(one.id) ? "#" + one.id : location.pathname);
  showThread(one);
  draw();
}

/** All but the messages. */
function draw(): void {
  list.show(all.values(), current.id, new Set(runs.keys()));
  find("title").textContent = current.title;
  document.title = current.messages.length > 0 ? `${current.title} · 1bit` : "1bit";
  drawSend();
}

/** The button that sends, or stops. */
function drawSend(): void {
  const going = runs.has(current.id);
  const elsewhere = writtenElsewhere(current.id);
  sendButton.classList.toggle("stop", going);
  sendButton.setAttribute("aria-label", going ? "Stop" : "Send");
  sendButton.title = going ? "Stop (Escape)" : elsewhere ? "Another tab is writing an answer here" : "Send (Enter)";
  sendButton.querySelector("use")?.setAttribute("href", going ? "#i-stop" : "#i-send");
  sendButton.disabled = !going && (elsewhere || prompt.value.trim() === "");
}

/** Has the model write the last message, or go on with it. */
async function answer(one: Conversation, goOn = false): Promise<void> {
  const message: Message = goOn
    ? (one.messages.at(-1) as Message)
    : { role: "assistant", content: "", end: "going", model: model() };
  if (!goOn) one.messages.push(message);
  let saved = 0;
  const run = new Run(one, message, goOn, {
    changed() {
      if (current === one) showLast(one);
      if (Date.now() - saved < 1000) return;
      saved = Date.now();
      if (all.has(one.id)) void keep(one);
    },
  });
  writes(one.id, run);
  all.set(one.id, one);
  one.updated = Date.now();
  message.end = "going";
  open(current);
  void keep(one);
  await run.go(model());
  if (runs.get(one.id) !== run) return; // what it wrote is not wanted any more
  one.updated = Date.now();
  if (all.get(one.id) === one) await keep(one);
  rests(one.id);
  if (current === one) showLast(one);
  draw();
  say(message.error ?? ((message.end as End) === "stopped" ? "The answer was stopped." : "The answer is complete."));
  if (message.error === undefined) lookAgain(); // a model may have been loaded, or a key found
  else void watch();
}

const talkWords: Record<TalkState, string> = {
  connecting: "Connecting",
  listening: "Listening: speak, or press Escape to end",
  hearing: "Hearing you",
  thinking: "Thinking",
  speaking: "Speaking: interrupt by speaking",
};

function drawTalk(state: TalkState | undefined): void {
  const place = find("talk-state");
  const words = state === undefined ? "" : talkWords[state];
  if (place.textContent !== words) place.textContent = words;
  place.hidden = state === undefined;
  talkButton.dataset.state = state ?? "";
  talkButton.setAttribute("aria-pressed", String(state !== undefined));
  talkButton.title = state === undefined ? "Talk (the microphone)" : "End the talk (Escape)";
}

/** Begins a conversation by voice in the current one, or ends it. */
function toggleTalk(): void {
  if (talk) return talk.talk.stop();
  const why = whyNoMicrophone();
  if (why !== undefined) return toast(why);
  if (runs.has(current.id) || busy()) return;
  const one = current;
  let saved = 0;
  const keepSoon = (now: boolean) => {
    if (one.messages.length === 0 || (!now && Date.now() - saved < 1000)) return;
    saved = Date.now();
    all.set(one.id, one);
    if (current === one) history.replaceState(null, "", "#" + one.id);
    one.updated = saved;
    void keep(one);
  };
  const begun = new Talk(one, model(), {
    changed(onlyLast) {
      const [first, second] = one.messages;
      if (first && second && one.title === titleOf("")) {
        one.title = titleOf(first.content);
        void set(one.id, { title: one.title });
      }
      if (current === one) {
        if (onlyLast) showLast(one);
        else showThread(one);
      }
      keepSoon(!onlyLast);
      if (!onlyLast) draw();
    },
    state: drawTalk,
    fault: (sentence) => toast(sentence),
    ended() {
      talk = undefined;
      rests(one.id);
      drawTalk(undefined);
      keepSoon(true);
      draw();
      say("The talk is over.");
    },
  });
  talk = { talk: begun, conversation: one };
  writes(one.id, begun);
  draw();
  void begun.start();
}

/** False where it cannot be asked now. */
function ask(text: string, title = titleOf(text)): boolean {
  if (runs.has(current.id) || text.trim() === "" || busy()) return false;
  if (current.messages.length === 0) {
    current.title = title;
    void set(current.id, { title });
  }
  current.messages.push({ role: "user", content: text.trim() });
  void answer(current);
  return true;
}

/** Ends what is being written; what comes of it yet is not wanted. */
function halt(id: string): void {
  runs.get(id)?.stop();
  rests(id);
}

/** Takes away messages from `index` on, in a way that can be undone. */
function cut(index: number): void {
  const one = current;
  halt(one.id);
  const before = structuredClone(one);
  const last = before.messages.at(-1);
  if (last?.end === "going") last.end = "stopped";
  one.messages.length = index;
  const gone = before.messages.slice(index).some((message) => message.role === "assistant" && message.content !== "");
  if (gone)
    toast("What came after is replaced.", {
      label: "Undo",
      click() {
        if (busy()) return;
        halt(one.id);
        bringBack(before);
      },
    });
}

setUpThread({
  edit(index, text) {
    if (busy()) return;
    catchUp();
    const named = current.title !== titleOf(current.messages[0]?.content ?? "");
    cut(index);
    ask(text, named ? current.title : titleOf(text));
  },
  regenerate() {
    if (runs.has(current.id) || busy()) return;
    if (current.messages.at(-1)?.role === "assistant") cut(current.messages.length - 1);
    if (current.messages.length > 0) void answer(current);
  },
  goOn() {
    if (!runs.has(current.id) && !busy()) void answer(current, true);
  },
  ask: (text) => void ask(text),
  closed() {
    catchUp();
    draw();
  },
});

// What is written.
function grow(): void {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
  drawSend();
}
prompt.addEventListener("input", grow);
prompt.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    if (!runs.has(current.id)) find<HTMLFormElement>("composer").requestSubmit();
  } else if (event.key === "ArrowUp" && prompt.value === "") {
    const edits = document.querySelectorAll<HTMLElement>('.turn.user [aria-label="Edit the message"]');
    [...edits].at(-1)?.click();
    event.preventDefault();
  }
});
find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const run = runs.get(current.id);
  if (run) return run.stop();
  if (!ask(prompt.value)) return;
  prompt.value = "";
  grow();
});

talkButton.addEventListener("click", toggleTalk);

// The list's buttons.
function begin(): void {
  if (current.messages.length > 0) open(fresh());
  showSide(false);
  prompt.focus();
}
find("new").addEventListener("click", begin);
find("export").addEventListener("click", () => {
  if (all.size === 0) return toast("There are no conversations yet.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported([...all.values()])], { type: "application/json" }));
  link.download = `conversations-${new Date().toISOString().slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
const file = find<HTMLInputElement>("file");
find("import").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  const chosen = file.files?.[0];
  file.value = "";
  if (chosen) void bringIn(chosen);
});

async function bringIn(chosen: File): Promise<void> {
  try {
    const come = imported(await chosen.text());
    // What was said makes it the same one; another one of the same id is a second one.
    const sayingOf = (one: Conversation) => JSON.stringify([one.created, one.messages]);
    const known = new Set([...all.values()].map(sayingOf));
    const fresh = come.filter((one) => !known.has(sayingOf(one)) && known.add(sayingOf(one)));
    for (const one of fresh) {
      if (all.has(one.id)) one.id = newId();
      all.set(one.id, one);
    }
    await put(...fresh);
    draw();
    const here = come.length - fresh.length;
    const words = fresh.length === 1 ? "One conversation came in" : `${fresh.length} conversations came in`;
    toast(here === 0 ? `${words}.` : `${words}; ${here === 1 ? "one was" : `${here} were`} here already.`);
  } catch (error) {
    toast(error instanceof Error ? error.message : "This file could not be read.");
  }
}

find("shortcuts").addEventListener("click", () => void showKeyboard());
find("settings-open").addEventListener("click", async () => {
  const one = current;
  if (await editSettings(one)) {
    remember("settings", JSON.stringify({ system: one.system, sampling: one.sampling }));
    void set(one.id, headOf(one));
  }
  lookAgain();
});

document.addEventListener("keydown", (event) => {
  const mod = event.ctrlKey || event.metaKey;
  const typing = (event.target as Element).matches("input, textarea, select");
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return void runs.get(current.id)?.stop();
  if (mod && !event.shiftKey && event.key.toLowerCase() === "k") {
    showSide(true);
    find("search").focus();
  } else if (mod && event.shiftKey && event.key.toLowerCase() === "o") begin();
  else if (!typing && !mod && event.key === "/") prompt.focus();
  else if (!typing && !mod && event.key === "?") void showKeyboard();
  else return;
  event.preventDefault();
});

/** Takes up what other tabs have written, with what is being written here left as it is. */
async function update(ids: string[]): Promise<void> {
  for (const id of ids) {
    const now = await load(id);
    const old = all.get(id);
    if (!now) forget(id);
    else if (old && runs.has(id)) Object.assign(old, headOf(now));
    else all.set(id, now);
  }
  if (!isEdited()) catchUp();
  draw();
}

/** Shows the current conversation as it is now, where another tab has changed it. */
function catchUp(): void {
  const now = all.get(current.id);
  if (!now || now === current) return;
  const same = now.messages.length === current.messages.length && now.messages.slice(0, -1).every((m, i) => m.content === current.messages[i]?.content);
  current = now;
  if (same) showLast(now);
  else showThread(now);
}

async function start(): Promise<void> {
  setUpTheme();
  setUpSide();
  setUpSettings();
  current = fresh();
  setUpTabs({ changed: (ids) => void update(ids), writer: (id) => void update([id]) });
  const kept = await openStore();
  for (const one of await loadAll()) all.set(one.id, one);
  open(all.get(location.hash.slice(1)) ?? current);
  if (!kept) toast("This browser keeps nothing here: conversations last until the tab closes.");
  if (matchMedia("(hover: hover)").matches) prompt.focus(); // elsewhere a keyboard would cover half the page
  await watch();
}

void start();
