// Conversations in this browser (IndexedDB), and small settings (localStorage). Where the browser keeps nothing (some
// private windows), everything works until the tab closes.
import type { Conversation } from "./types";
import { conversationOf } from "./validate";

const table = "conversations";
let database: IDBDatabase | undefined;

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's store failed"));
  });
}

/** Opens the store: false where there is none. */
export async function openStore(): Promise<boolean> {
  try {
    const request = indexedDB.open("1bit-chat", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(table, { keyPath: "id" });
    database = await done(request);
    return true;
  } catch {
    return false;
  }
}

export async function loadAll(): Promise<Conversation[]> {
  if (!database) return [];
  const all: unknown[] = await done(database.transaction(table).objectStore(table).getAll());
  return all.map(conversationOf).filter((conversation) => conversation !== undefined);
}

const elsewhere = "BroadcastChannel" in window ? new BroadcastChannel("1bit-chat") : undefined;

/** Calls back when another tab has changed something. */
export function onElsewhere(changed: () => void): void {
  if (elsewhere) elsewhere.onmessage = changed;
}

/** Rejects where the browser has no more room. */
export async function save(...conversations: Conversation[]): Promise<void> {
  if (!database) return;
  const objects = database.transaction(table, "readwrite").objectStore(table);
  await Promise.all(conversations.map((conversation) => done(objects.put(conversation))));
  elsewhere?.postMessage(0);
}

export async function remove(id: string): Promise<void> {
  if (!database) return;
  await done(database.transaction(table, "readwrite").objectStore(table).delete(id));
  elsewhere?.postMessage(0);
}

/** A small setting; undefined where it is absent or the browser keeps none. */
export function recall(name: string, where: "localStorage" | "sessionStorage" = "localStorage"): string | undefined {
  try {
    return window[where].getItem("1bit-" + name) ?? undefined;
  } catch {
    return undefined;
  }
}

export function remember(name: string, value: string | undefined, where: "localStorage" | "sessionStorage" = "localStorage"): void {
  try {
    if (value === undefined) window[where].removeItem("1bit-" + name);
    else window[where].setItem("1bit-" + name, value);
  } catch {
    // Kept nowhere, then: it holds until the tab closes where its owner keeps it in a variable.
  }
}
