// Markdown of an answer as nodes. Nothing of it is trusted: raw HTML is text, what is made of the rest goes through the
// sanitiser's short list, and the page's Content-Security-Policy stands behind both. No picture is ever fetched: its
// address could carry words of the conversation to whoever owns it.
import DOMPurify from "dompurify";
import { Marked, type Tokens } from "marked";
import { button } from "./dom";

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c] ?? c);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escaped(text),
    image: ({ href, text }: Tokens.Image) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? "☑ " : "☐ "),
  },
});

const allowed = {
  ALLOWED_TAGS: (
    "a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i li ol p pre s strong sub sup table tbody td th thead tr ul"
  ).split(" "),
  ALLOWED_ATTR: ["href", "start", "align", "class"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

/** Classes say one thing only: a code block's language. */
function languageOf(code: Element): string {
  return /^language-([\w+#.-]{1,30})/.exec(code.className)?.[1] ?? "";
}

function dress(fragment: DocumentFragment): void {
  for (const element of fragment.querySelectorAll("[class]:not(pre > code)")) element.removeAttribute("class");
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = pre.querySelector("code") ?? pre;
    const head = document.createElement("div");
    head.className = "code-head";
    const language = document.createElement("span");
    language.textContent = languageOf(code) || "text";
    code.removeAttribute("class");
    head.append(language, button("copy", "Copy the code", () => copy(code.textContent ?? "")));
    const block = document.createElement("div");
    block.className = "code";
    pre.replaceWith(block);
    pre.tabIndex = 0; // it scrolls, also for those without a mouse
    block.append(head, pre);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table";
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
}

/**
 * Whether the parser would take seconds, or more stack than there is: its time grows with the square or the cube of what
 * is opened and never closed, and it recurses into quotes and lists.
 */
function tooMuch(text: string): boolean {
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
  const deep = (line: string) => {
    const lead = /^[>*+\-\d.) \t]*/.exec(line)?.[0] ?? "";
    return (lead.match(/>|[-*+.)](?=[ \t])/g)?.length ?? 0) > 40 || (/^[ \t]*/.exec(lead)?.[0].length ?? 0) > 80;
  };
  return (
    text.length > 200_000 ||
    count(/[[(]/g) - count(/[\])]/g) > 100 ||
    text.split("\n").some(deep) ||
    text.split("\n\n").some((part) => (part.match(/[*_~`]/g)?.length ?? 0) > 1000)
  );
}

function plain(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment();
  const words = document.createElement("p");
  words.className = "plain";
  words.textContent = text;
  fragment.append(words);
  return fragment;
}

export function rendered(text: string): DocumentFragment {
  if (tooMuch(text)) return plain(text);
  try {
    const fragment = DOMPurify.sanitize(marked.parse(text, { async: false }), allowed);
    dress(fragment);
    return fragment;
  } catch {
    return plain(text); // words are shown whatever they are made of
  }
}

/** To the clipboard, also where the page is no secure context and so has no clipboard of its own. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
