// The conversation that is shown: its messages, and what can be done with each.
import { button, find, make } from "./dom";
import { copy, rendered } from "./markdown";
import type { Conversation, Message } from "./types";

export interface Actions {
  /** The message at `index` has other words now: ask again from there. */
  edit(index: number, text: string): void;
  regenerate(): void;
  goOn(): void;
  ask(text: string): void;
  /** A message that was to get other words keeps its own. */
  closed(): void;
}

const place = find("thread");
const number = (value: number, digits: number) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

const examples = ["What is the capital of France?", "What is the chemical symbol of gold?", "Tell me a short story."];

let actions: Actions;
let elements: HTMLElement[] = [];
let following = true; // the end is in sight, and stays there

export function setUpThread(what: Actions): void {
  actions = what;
  place.addEventListener("scroll", () => {
    following = place.scrollHeight - place.scrollTop - place.clientHeight < 60;
  });
  new ResizeObserver(() => follow()).observe(place);
}

function follow(): void {
  if (following) place.scrollTop = place.scrollHeight;
}

/** Whether somebody is writing a message's new words. */
export function isEdited(): boolean {
  return place.querySelector(".editor") !== null;
}

export function showThread(conversation: Conversation): void {
  following = true;
  elements = conversation.messages.map((message, index) => turn(message, index, conversation.messages.length));
  place.replaceChildren(...(elements.length === 0 ? [welcome()] : elements));
  follow();
}

/** Shows again what has changed of the last message. */
export function showLast(conversation: Conversation): void {
  const index = conversation.messages.length - 1;
  const message = conversation.messages[index];
  const old = elements[index];
  if (!message || !old) return;
  const fresh = turn(message, index, conversation.messages.length);
  elements[index] = fresh;
  old.replaceWith(fresh);
  follow();
}

function welcome(): HTMLElement {
  const buttons = examples.map((text) => {
    const one = make("button", "example", text);
    one.type = "button";
    one.addEventListener("click", () => actions.ask(text));
    return one;
  });
  const glyphs = ["−1", "0", "+1"].map((glyph) => make("span", "", glyph));
  const trits = make("div", "trits", ...glyphs);
  trits.setAttribute("aria-hidden", "true");
  return make(
    "div",
    "welcome",
    trits,
    make("h2", "", "Three numbers, and it answers"),
    make("p", "", "This model computes with weights of −1, 0 and +1. It runs on this server; nothing you write goes anywhere else."),
    make("div", "examples", ...buttons),
  );
}

function turn(message: Message, index: number, count: number): HTMLElement {
  return message.role === "user" ? question(message, index) : answer(message, index === count - 1);
}

function question(message: Message, index: number): HTMLElement {
  const text = make("div", "bubble", message.content);
  const article = make("article", "turn user", text);
  article.setAttribute("aria-label", "You");
  const tools = make(
    "div",
    "tools",
    button("copy", "Copy the message", () => copy(message.content)),
    button("edit", "Edit the message", () => {
      const form = editor(message, index, () => {
        article.replaceChildren(text, tools);
        actions.closed();
      });
      article.replaceChildren(form);
      form.querySelector("textarea")?.focus(); // at once: the next key is meant for it
    }),
  );
  article.append(tools);
  return article;
}

function editor(message: Message, index: number, close: () => void): HTMLElement {
  const area = make("textarea");
  area.value = message.content;
  area.setAttribute("aria-label", "The message's new words");
  area.rows = Math.min(12, message.content.split("\n").length + 1);
  const send = make("button", "primary", "Send");
  send.type = "submit";
  const cancel = make("button", "", "Cancel");
  cancel.type = "button";
  cancel.addEventListener("click", close);
  const form = make("form", "editor", area, make("div", "buttons", make("span", "space"), cancel, send));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim() !== "") actions.edit(index, area.value);
  });
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  return form;
}

function answer(message: Message, last: boolean): HTMLElement {
  const body = make("div", "prose");
  body.append(rendered(message.content));
  const article = make("article", "turn answer", body);
  article.setAttribute("aria-label", message.model ?? "Answer");
  const going = message.end === "going";
  if (going) {
    article.classList.add("going");
    article.setAttribute("aria-busy", "true");
    if (message.content === "") body.append(waiting());
  }
  if (message.error !== undefined) article.append(fault(message.error, last));
  article.append(footer(message, last && !going));
  return article;
}

function waiting(): HTMLElement {
  const dots = make("div", "waiting", make("i"), make("i"), make("i"));
  dots.setAttribute("role", "img");
  dots.setAttribute("aria-label", "The answer has not begun");
  return dots;
}

function fault(text: string, last: boolean): HTMLElement {
  const box = make("div", "fault", make("span", "", text));
  box.setAttribute("role", "alert");
  if (!last) return box;
  const again = make("button", "", "Try again");
  again.type = "button";
  again.addEventListener("click", () => actions.regenerate());
  box.append(again);
  return box;
}

function footer(message: Message, last: boolean): HTMLElement {
  const foot = make("div", "tools");
  if (message.end !== "going" && message.content !== "") foot.append(button("copy", "Copy the answer", () => copy(message.content)));
  if (last && message.error === undefined) foot.append(button("again", "Answer again", () => actions.regenerate()));
  if (last && message.content !== "" && message.end !== "done" && message.end !== "going")
    foot.append(button("more", "Go on with the answer", () => actions.goOn()));
  const stats = make("span", "stats");
  for (const [words, explained] of statsOf(message)) {
    const one = make("span", "", words);
    one.title = explained;
    stats.append(one);
  }
  foot.append(stats);
  return foot;
}

function statsOf(message: Message): [string, string][] {
  const all: [string, string][] = [];
  const stats = message.stats;
  if (stats && stats.rate > 0) all.push([`${number(stats.rate, 1)} tok/s`, "Tokens in a second, as the server measured"]);
  if (stats && stats.first > 0)
    all.push([
      `first token ${stats.first < 1000 ? `${number(stats.first, 0)} ms` : `${number(stats.first / 1000, 2)} s`}`,
      "From sending to the first words, as this browser measured",
    ]);
  if (stats && stats.tokens > 0)
    all.push([`${number(stats.tokens, 0)} ${stats.tokens === 1 ? "token" : "tokens"}`, `After ${number(stats.prompt, 0)} tokens before it`]);
  if (message.end === "stopped") all.push(["stopped", "You ended it, or the tab was closed"]);
  if (message.end === "length") all.push(["cut at the limit", "The most tokens of an answer, or the model's context"]);
  return all;
}
