// The page's dialogs: settings of a conversation, the API key, the keyboard.
import { hasKey, setKey } from "./api";
import { find, make, toast } from "./dom";
import { firstSampling, samplingFields, type Conversation, type Sampling } from "./types";

/** Opens it; resolves to whether it was accepted, by whatever means it was closed. */
function opened(dialog: HTMLDialogElement, accepted: () => boolean): Promise<boolean> {
  const form = dialog.querySelector("form") as HTMLFormElement;
  return new Promise((resolve) => {
    let yes = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      yes = accepted();
      if (yes) dialog.close();
    };
    dialog.onclick = (event) => {
      const target = event.target as HTMLElement;
      if (target === dialog || target.closest("[data-close]")) dialog.close();
    };
    dialog.onclose = () => resolve(yes);
    dialog.showModal();
  });
}

function field(form: HTMLFormElement, name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}

let asking: Promise<boolean> | undefined;

/** Asks for the API key; false where there is none to be had. Two that ask at once ask once. */
export function askKey(): Promise<boolean> {
  asking ??= askKeyNow().finally(() => (asking = undefined));
  return asking;
}

async function askKeyNow(): Promise<boolean> {
  const dialog = find<HTMLDialogElement>("key");
  const form = dialog.querySelector("form") as HTMLFormElement;
  find("key-error").textContent = hasKey() ? "The server does not know this key." : "";
  field(form, "key").value = "";
  return opened(dialog, () => {
    const value = field(form, "key").value.trim();
    // A header holds no other characters: fetch() would refuse with a sentence for programmers.
    const fits = /^[\x21-\x7e]+$/.test(value);
    find("key-error").textContent = fits ? "" : "A key is letters, digits and signs, without spaces.";
    if (fits) setKey(value, field(form, "keep").checked);
    return fits;
  });
}

export function setUpSettings(): void {
  const grid = find("sampling");
  for (const { name, label, min, max, step, about } of samplingFields) {
    const input = make("input");
    Object.assign(input, { name, type: "number", inputMode: step === 1 ? "numeric" : "decimal" });
    Object.assign(input, { min: String(min), max: String(max), step: String(step), placeholder: name === "seed" ? "a new one" : "" });
    const hint = make("small", "", about);
    hint.id = `about-${name}`;
    input.setAttribute("aria-describedby", hint.id);
    grid.append(make("label", "", label, input, hint));
  }
}

function showSampling(form: HTMLFormElement, sampling: Sampling): void {
  for (const { name } of samplingFields) field(form, name).value = String(sampling[name] ?? "");
}

function showKey(): void {
  find("key-note").textContent = hasKey() ? "An API key is kept in this browser." : "No API key is kept.";
  find("key-forget").hidden = !hasKey();
  find("key-change").textContent = hasKey() ? "Change it" : "Enter a key";
}

/** Changes the conversation's settings; true where they were saved. */
export async function editSettings(conversation: Conversation): Promise<boolean> {
  const dialog = find<HTMLDialogElement>("settings");
  const form = dialog.querySelector("form") as HTMLFormElement;
  field(form, "system").value = conversation.system;
  showSampling(form, conversation.sampling);
  showKey();
  find("defaults").onclick = () => {
    field(form, "system").value = "";
    showSampling(form, firstSampling());
  };
  find("key-forget").onclick = () => {
    setKey(undefined, false);
    showKey();
    toast("The key is forgotten.");
  };
  find("key-change").onclick = () => void askKey().then(showKey);
  return opened(dialog, () => {
    conversation.system = field(form, "system").value;
    conversation.sampling = {};
    for (const { name } of samplingFields) {
      const value = field(form, name).valueAsNumber;
      if (!Number.isNaN(value)) conversation.sampling[name] = value;
    }
    return true;
  });
}

const keys: [string, string][] = [
  ["Enter", "send"],
  ["Shift Enter", "a new line"],
  ["Escape", "stop the answer"],
  ["↑", "edit the last message (in an empty box)"],
  ["Ctrl K", "search conversations"],
  ["Ctrl Shift O", "a new conversation"],
  ["/", "to the message box"],
  ["?", "this list"],
];

export async function showKeyboard(): Promise<void> {
  find("help-list").replaceChildren(
    ...keys.flatMap(([key, what]) => [
      make("dt", "", ...key.split(" ").flatMap((one) => [make("kbd", "", one), " "])),
      make("dd", "", what),
    ]),
  );
  await opened(find<HTMLDialogElement>("help"), () => true);
}
