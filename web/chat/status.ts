// The model and how it is: asked every few seconds, while somebody looks.
import { ApiError, hasVoice, health, models, type Model } from "./api";
import { askKey } from "./dialogs";
import { find } from "./dom";
import { recall, remember } from "./store";

const name = find("model-name");
const choice = find<HTMLSelectElement>("model-choice");
const words: Record<string, string> = {
  ok: "ready",
  loading: "loading",
  "shutting down": "ending",
  "device lost": "no device",
  unreachable: "not reachable",
  key: "needs a key",
};

let all: Model[] = [];
let chosen = recall("model");
let refused = false; // the visitor has no key, and is not asked again until something is sent
let timer = 0;

/** The model to ask; undefined: the server's first. */
export function model(): string | undefined {
  return all.find((one) => one.id === chosen)?.id ?? all[0]?.id;
}

function describe(one: Model | undefined): string {
  const meta = one?.meta;
  if (!meta) return "";
  const parts = [];
  if (meta.parameters) parts.push(`${Math.round(meta.parameters / 1e6).toLocaleString("en")} million parameters`);
  if (meta.context) parts.push(`context of ${meta.context.toLocaleString("en")} tokens`);
  if (meta.bytes) parts.push(`${Math.round(meta.bytes / 1e6).toLocaleString("en")} MB`);
  return parts.join(", ");
}

function show(state: string): void {
  const one = all.find((other) => other.id === model());
  find("dot").dataset.state = state;
  const told = state === "ok" && one?.state && one.state !== "loaded" ? one.state : (words[state] ?? state);
  const place = find("model-state");
  if (place.textContent !== told) place.textContent = told;
  name.textContent = one?.id ?? "";
  name.hidden = all.length > 1;
  choice.hidden = all.length < 2;
  find("model").title = describe(one);
  const ids = all.map((other) => other.id);
  if ([...choice.options].map((option) => option.value).join("\n") !== ids.join("\n"))
    choice.replaceChildren(...ids.map((id) => new Option(id, id)));
  choice.value = one?.id ?? "";
}

async function look(): Promise<string> {
  const state = await health();
  if (state !== "ok" || (refused && all.length === 0)) return state === "ok" ? "key" : state;
  try {
    all = await models();
    return "ok";
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) return "unreachable";
    refused = !(await askKey());
    return refused ? "key" : look();
  }
}

let voice: boolean | undefined; // of the server, once it has said so

/** The button to talk is there where the server has a voice. */
async function lookForVoice(state: string): Promise<void> {
  if (state === "ok") voice ??= await hasVoice().catch(() => undefined);
  else if (state === "unreachable" || state === "loading") voice = undefined; // another may come
  else return;
  if (state === "ok") find("talk").hidden = voice !== true;
}

/** Looks now, and from then on. */
export async function watch(): Promise<void> {
  clearTimeout(timer);
  const state = await look();
  show(state);
  void lookForVoice(state);
  clearTimeout(timer);
  if (!document.hidden) timer = window.setTimeout(() => void watch(), state === "ok" ? 10_000 : 1_500);
}

/** The visitor may have a key now. */
export function lookAgain(): void {
  refused = false;
  void watch();
}

choice.addEventListener("change", () => {
  chosen = choice.value;
  remember("model", chosen);
  void watch();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void watch();
});
