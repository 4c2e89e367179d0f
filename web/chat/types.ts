// What a conversation is, in memory, in the browser's store and in exported files.

/** Sent as they are; what is absent is the server's to choose. */
export interface Sampling {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  frequency_penalty?: number;
  presence_penalty?: number;
  max_tokens?: number;
  seed?: number;
}

export interface Stats {
  /** Tokens of the answer, and of everything before it. */
  tokens: number;
  prompt: number;
  /** Tokens in a second, as the server measured. */
  rate: number;
  /** From the click to the first word, in milliseconds, as the browser measured. */
  first: number;
}

/** `going`: is being written. An answer that a tab left so when it was closed is `stopped`. */
export type End = "going" | "done" | "stopped" | "length" | "error";

export interface Message {
  role: "user" | "assistant";
  content: string;
  /** Of answers only, as are all below. */
  end?: End;
  error?: string;
  model?: string;
  stats?: Stats;
}

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  /** Counts what was said in it as it is stored; 0: not stored yet. Tabs that write over each other find out by it. */
  rev: number;
  system: string;
  sampling: Sampling;
  messages: Message[];
}

/** Each field of Sampling: its name for people, its bounds (the server's own), and what a new visitor begins with. */
export const samplingFields: {
  name: keyof Sampling;
  label: string;
  min: number;
  max: number;
  step: number | "any";
  first?: number;
  about: string;
}[] = [
  { name: "temperature", label: "Temperature", min: 0, max: 100, step: "any", first: 0.6, about: "0: the likeliest word, always" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: "any", first: 0.95, about: "of the probability, this share" },
  { name: "top_k", label: "Top k", min: 0, max: 2147483647, step: 1, about: "so many candidates; 0: all" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: "any", about: "relative to the likeliest" },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.01, max: 100, step: "any", about: "above 1: repeats less" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: "any", about: "for each time a word came" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: "any", about: "for words that came at all" },
  { name: "max_tokens", label: "Most tokens", min: 1, max: 2147483647, step: 1, about: "of an answer" },
  { name: "seed", label: "Seed", min: -9007199254740991, max: 9007199254740991, step: 1, about: "the same one, the same answer" },
];

export function firstSampling(): Sampling {
  return Object.fromEntries(samplingFields.filter((f) => f.first !== undefined).map((f) => [f.name, f.first]));
}

export function newId(): string {
  // randomUUID() is for secure contexts only, which a server on the local network is not.
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const untitled = "New conversation";

export function newConversation(system: string, sampling: Sampling): Conversation {
  const now = Date.now();
  return { id: newId(), title: untitled, created: now, updated: now, rev: 0, system, sampling: { ...sampling }, messages: [] };
}

/** A title from the first words, for one that nobody has named. */
export function titleOf(text: string): string {
  const line = text.trim().split(/\s+/).join(" ");
  return line === "" ? untitled : line.length <= 60 ? line : line.slice(0, 59).trimEnd() + "…";
}
