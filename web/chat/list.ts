// The list of conversations: choose, search, rename, delete.
import { button, find, make } from "./dom";
import type { Conversation } from "./types";

export interface ListActions {
  choose(id: string): void;
  rename(id: string, title: string): void;
  remove(id: string): void;
}

const list = find("list");
const note = find("list-note");
const search = find<HTMLInputElement>("search");
const step = 150; // rows that are there at once; more come where somebody scrolls down to them

/** Where the words are found: around them, or undefined. */
function snippet(conversation: Conversation, words: string): string | undefined {
  for (const { content } of conversation.messages) {
    const at = content.toLowerCase().indexOf(words);
    if (at >= 0) return (at > 24 ? "…" : "") + content.slice(Math.max(0, at - 24), at + words.length + 60).replace(/\s+/g, " ");
  }
  return undefined;
}

/** The text with each place of `words` marked. */
function marked(text: string, words: string): Node[] {
  const nodes: Node[] = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(words); words !== "" && at >= 0; at = lower.indexOf(words, from)) {
    nodes.push(document.createTextNode(text.slice(from, at)), make("mark", "", text.slice(at, at + words.length)));
    from = at + words.length;
  }
  nodes.push(document.createTextNode(text.slice(from)));
  return nodes;
}

export class List {
  private all: Conversation[] = [];
  private current = "";
  private going: ReadonlySet<string> = new Set();
  private most = step;

  constructor(private readonly actions: ListActions) {
    search.addEventListener("input", () => {
      this.most = step;
      this.draw();
    });
    list.addEventListener("scroll", () => {
      if (list.childElementCount < this.most || list.scrollHeight - list.scrollTop - list.clientHeight > 300) return;
      this.most += step;
      this.draw();
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") list.querySelector<HTMLElement>("button")?.focus();
      if (event.key === "Escape" && search.value !== "") {
        event.stopPropagation();
        search.value = "";
        this.draw();
      }
    });
    list.addEventListener("keydown", (event) => this.move(event));
  }

  show(all: Iterable<Conversation>, current: string, going: ReadonlySet<string>): void {
    this.all = [...all].sort((a, b) => b.updated - a.updated);
    this.current = current;
    this.going = going;
    if (!list.querySelector("form")) this.draw(); // a name that is being written stays
  }

  private draw(): void {
    const words = search.value.trim().toLowerCase();
    const focused = list.contains(document.activeElement) && document.activeElement instanceof HTMLElement ? document.activeElement.dataset.id : undefined;
    const rows: HTMLElement[] = [];
    for (const one of this.all) {
      if (rows.length === this.most) break;
      const inTitle = words === "" || one.title.toLowerCase().includes(words);
      const found = words === "" ? undefined : snippet(one, words);
      if (inTitle || found !== undefined) rows.push(this.row(one, words, found));
    }
    const top = list.scrollTop;
    list.replaceChildren(...rows);
    list.scrollTop = top;
    if (focused !== undefined) list.querySelector<HTMLElement>(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    note.hidden = rows.length > 0;
    note.textContent = this.all.length === 0 ? "Conversations that you have are kept here, in this browser." : "Nothing found.";
  }

  private row(one: Conversation, words: string, found: string | undefined): HTMLElement {
    const choose = make("button", "choose", make("span", "name", ...marked(one.title, words)));
    choose.type = "button";
    choose.dataset.id = one.id;
    if (found !== undefined) choose.append(make("span", "snippet", ...marked(found, words)));
    choose.addEventListener("click", () => this.actions.choose(one.id));
    if (one.id === this.current) choose.setAttribute("aria-current", "true");
    const row = make(
      "li",
      this.going.has(one.id) ? "going" : "",
      choose,
      button("edit", `Rename ${one.title}`, () => this.rename(row, one)),
      button("trash", `Delete ${one.title}`, () => this.actions.remove(one.id)),
    );
    return row;
  }

  private rename(row: HTMLElement, one: Conversation): void {
    const input = make("input");
    input.value = one.title;
    input.maxLength = 200;
    input.setAttribute("aria-label", "Name of the conversation");
    const form = make("form", "rename", input);
    let open = true;
    const close = (keep: boolean) => {
      if (!open) return;
      open = false;
      const title = input.value.trim();
      form.remove();
      if (keep && title !== "" && title !== one.title) this.actions.rename(one.id, title);
      else this.draw();
      list.querySelector<HTMLElement>("[aria-current]")?.focus();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      close(true);
    });
    input.addEventListener("blur", () => close(true));
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close(false);
    });
    row.replaceChildren(form);
    input.select();
  }

  private move(event: KeyboardEvent): void {
    if (!(event.target instanceof HTMLElement) || !event.target.matches(".choose")) return;
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by === 0) return;
    const buttons = [...list.querySelectorAll<HTMLElement>(".choose")];
    const next = buttons[buttons.indexOf(event.target) + by];
    if (next) next.focus();
    else if (by < 0) search.focus();
    event.preventDefault();
  }
}
