// Conversations from outside: an imported file, or a store that anything may have written into. What is not one is
// left out; what is too much is cut. No text in them is trusted with anything but being shown (markdown.ts).
import { newId, samplingFields, titleOf, type Conversation, type End, type Message, type Sampling, type Stats } from "./types";

type Fields = Record<string, unknown>;

export const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown, most = 4_000_000): string => (typeof value === "string" ? value.slice(0, most) : "");
const number = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);

function samplingOf(value: unknown): Sampling {
  const sampling: Sampling = {};
  if (!isFields(value)) return sampling;
  for (const { name, min, max } of samplingFields) {
    const v = value[name];
    if (typeof v === "number" && v >= min && v <= max) sampling[name] = v;
  }
  return sampling;
}

function statsOf(value: unknown): Stats | undefined {
  if (!isFields(value)) return undefined;
  return { tokens: number(value.tokens), prompt: number(value.prompt), rate: number(value.rate), first: number(value.first) };
}

const ends: readonly unknown[] = ["done", "stopped", "length", "error"] satisfies End[];

function messageOf(value: unknown, written: boolean): Message | undefined {
  if (!isFields(value) || typeof value.content !== "string") return undefined;
  const content = text(value.content);
  if (value.role === "user") return { role: "user", content };
  if (value.role !== "assistant") return undefined;
  const end = ends.includes(value.end) ? (value.end as End) : value.end !== "going" ? "done" : written ? "going" : "stopped";
  const message: Message = { role: "assistant", content, end };
  if (typeof value.error === "string") message.error = text(value.error, 2000);
  if (typeof value.model === "string") message.model = text(value.model, 200);
  const stats = statsOf(value.stats);
  if (stats) message.stats = stats;
  return message;
}

/** Ids stand in the page's address. */
const idForm = /^[\w-]{1,64}$/;
const safeId = (value: unknown): string => (idForm.test(text(value)) ? text(value) : newId());

/** `written`: somebody writes its last answer now; otherwise one that has no end was stopped. */
export function conversationOf(value: unknown, written = false): Conversation | undefined {
  if (!isFields(value) || !Array.isArray(value.messages)) return undefined;
  const id = text(value.id);
  const messages = value.messages.map((message) => messageOf(message, written)).filter((message) => message !== undefined);
  if (!idForm.test(id) || messages.length === 0) return undefined;
  return {
    id,
    title: text(value.title, 200) || titleOf(messages[0]?.content ?? ""),
    created: number(value.created),
    updated: number(value.updated),
    rev: number(value.rev),
    system: text(value.system),
    sampling: samplingOf(value.sampling),
    messages,
  };
}

const format = "1bit-chat";

export function exported(conversations: Conversation[]): string {
  const kept = conversations.map(({ rev: _, ...rest }) => rest); // of the store's, not of the file's
  return JSON.stringify({ format, version: 1, conversations: kept }, null, 1);
}

/** Throws a sentence for people. */
export function imported(json: string): Conversation[] {
  let root: unknown;
  try {
    root = JSON.parse(json);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (!isFields(root) || root.format !== format || !Array.isArray(root.conversations))
    throw new Error("This file holds no conversations of this page.");
  if (root.version !== 1) throw new Error("This file was written by another version of this page.");
  const named = root.conversations.map((one: unknown) => (isFields(one) ? { ...one, id: safeId(one.id) } : one));
  const come = named.map((one) => conversationOf(one)).filter((conversation) => conversation !== undefined);
  return come.map((one) => ({ ...one, rev: 0 }));
}
