// Small helpers to build the page with. No text ever becomes markup here.

export function find<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element as T;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...children);
  return element;
}

export function icon(name: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A button that is an icon; `label` is its name and its tooltip. */
export function button(name: string, label: string, click: () => void): HTMLButtonElement {
  const element = make("button", "icon-button", icon(name));
  element.type = "button";
  element.title = label;
  element.setAttribute("aria-label", label);
  element.addEventListener("click", click);
  return element;
}

/** Says something that passes, with something that can be done about it. */
export function toast(text: string, action?: { label: string; click: () => void }): void {
  const place = find("toast");
  const note = make("div", "toast", make("span", "", text));
  const gone = setTimeout(() => note.remove(), action ? 12_000 : 5_000);
  if (action) {
    const act = make("button", "", action.label);
    act.type = "button";
    act.addEventListener("click", () => {
      clearTimeout(gone);
      note.remove();
      action.click();
    });
    note.append(act);
  }
  place.replaceChildren(note);
}

/** Tells a screen reader. */
export function say(text: string): void {
  find("said").textContent = text;
}
