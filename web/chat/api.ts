// The server's API, as far as the page needs it.
import { recall, remember } from "./store";
import type { Sampling } from "./types";

/** A refusal. `status` 0: there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let key = recall("key") ?? recall("key", "sessionStorage");

export const hasKey = (): boolean => key !== undefined;

/** `keep`: beyond this tab. */
export function setKey(value: string | undefined, keep: boolean): void {
  key = value;
  remember("key", keep ? value : undefined);
  remember("key", keep ? undefined : value, "sessionStorage");
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers: Record<string, string> = key === undefined ? {} : { Authorization: `Bearer ${key}` };
  if (init.body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (response.ok) return response;
  const body: { error?: { message?: string } } = await response.json().catch(() => ({}));
  throw new ApiError(response.status, body.error?.message ?? `The server answered ${response.status}.`);
}

/** "ok", or why not: "loading", "shutting down", "device lost", "unreachable". */
export async function health(): Promise<string> {
  try {
    const response = await fetch("health", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    const body: { status?: string } = await response.json();
    return body.status ?? "unreachable";
  } catch {
    return "unreachable";
  }
}

export interface Model {
  id: string;
  state: string;
  meta?: { context?: number; parameters?: number; bytes?: number };
}

export async function models(): Promise<Model[]> {
  const body: { data?: Model[] } = await (await ask("v1/models")).json();
  return body.data ?? [];
}

/** Whether the server takes conversations by voice. Throws ApiError where it does not say. */
export async function hasVoice(): Promise<boolean> {
  try {
    const body: { realtime?: boolean } = await (await ask("v1/audio/voices")).json();
    return body.realtime === true;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 501 || error.status === 404)) return false;
    throw error;
  }
}

/** A browser's socket has no headers: the key goes as OpenAI's clients send it there, with what may not stand in it as %XX. */
export function talkSocket(model: string | undefined): WebSocket {
  const url = new URL("v1/realtime", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  if (model !== undefined) url.searchParams.set("model", model);
  const word = encodeURIComponent(key ?? "").replace(/[()]/g, (char) => "%" + char.charCodeAt(0).toString(16));
  return new WebSocket(url, key === undefined ? ["realtime"] : ["realtime", "openai-insecure-api-key." + word]);
}

/** What is wrong, for people. */
export function sentenceOf(error: unknown): string {
  if (error instanceof ApiError && error.status === 401) return "The server wants an API key.";
  const text = error instanceof Error ? error.message : String(error);
  const message = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(message) ? message : message + ".";
}

export interface Chunk {
  choices?: { delta?: { content?: string }; finish_reason?: string | null }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  timings?: { predicted_per_second?: number };
  error?: { message?: string };
}

/** The data of each event of a stream. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      held += value;
      const parts = held.split("\n\n");
      held = parts.pop() ?? "";
      for (const part of parts)
        for (const line of part.split("\n")) if (line.startsWith("data:")) yield line.slice(5).trimStart();
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export interface ChatRequest {
  model: string | undefined;
  messages: { role: string; content: string }[];
  sampling: Sampling;
  /** The last message is the answer's beginning. */
  goOn: boolean;
}

/** The chunks of an answer. Throws ApiError, also for what goes wrong in the middle; AbortError where it is stopped. */
export async function* chat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<Chunk> {
  const response = await ask("v1/chat/completions", {
    method: "POST",
    signal,
    body: JSON.stringify({
      ...(request.model === undefined ? {} : { model: request.model }),
      messages: request.messages,
      ...request.sampling,
      ...(request.goOn ? { continue_final_message: true } : {}),
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (!response.body) throw new ApiError(0, "The server's answer has no body.");
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk: Chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(500, chunk.error.message ?? "The answer broke off.");
      yield chunk;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError(0, "The connection broke off in the middle of the answer.");
  }
  throw new ApiError(0, "The answer broke off.");
}
