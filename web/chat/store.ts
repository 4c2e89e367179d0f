// Conversations in this browser (IndexedDB), and small settings (localStorage). Where the browser keeps nothing (some
// private windows), everything works until the tab closes.
import type { Conversation } from "./types";
import { tellChanged, writtenElsewhere } from "./tabs";
import { conversationOf, isFields } from "./validate";

const table = "conversations";
let database: IDBDatabase | undefined;

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's store failed"));
  });
}

function end(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the browser's store failed"));
  });
}

async function opened(version?: number): Promise<IDBDatabase> {
  const request = indexedDB.open("1bit-chat", version);
  request.onupgradeneeded = () => {
    if (!request.result.objectStoreNames.contains(table)) request.result.createObjectStore(table, { keyPath: "id" });
  };
  const result = await done(request);
  result.onversionchange = () => result.close(); // another tab mends the store
  return result;
}

/** Opens the store: false where there is none. */
export async function openStore(): Promise<boolean> {
  try {
    database = await opened();
    if (database.objectStoreNames.contains(table)) return true;
    const { version } = database; // something else made a store of this name
    database.close();
    database = await opened(version + 1);
    return true;
  } catch {
    database = undefined;
    return false;
  }
}

const read = (stored: unknown) => conversationOf(stored, isFields(stored) && writtenElsewhere(String(stored.id)));

export async function loadAll(): Promise<Conversation[]> {
  if (!database) return [];
  const all: unknown[] = await done(database.transaction(table).objectStore(table).getAll());
  return all.map(read).filter((conversation) => conversation !== undefined);
}

export async function load(id: string): Promise<Conversation | undefined> {
  if (!database) return undefined;
  return read(await done(database.transaction(table).objectStore(table).get(id)));
}

/** What became of it: another tab may have written in it since it was read, or deleted it. */
export type Saved = "saved" | "written elsewhere" | "deleted elsewhere";

/** Keeps what was said. Its title and settings are what the store has: set() changes them. Rejects where the browser
 *  has no more room. */
export async function save(one: Conversation): Promise<Saved> {
  if (!database) return "saved";
  const transaction = database.transaction(table, "readwrite");
  const objects = transaction.objectStore(table);
  const stored = conversationOf(await done(objects.get(one.id)));
  if (!stored && one.rev > 0) return "deleted elsewhere";
  if (stored && stored.rev !== one.rev) return "written elsewhere";
  if (stored) Object.assign(one, headOf(stored));
  objects.put({ ...one, rev: one.rev + 1 });
  await end(transaction);
  ++one.rev;
  tellChanged(one.id);
  return "saved";
}

export type Head = Pick<Conversation, "title" | "system" | "sampling">;

export function headOf({ title, system, sampling }: Conversation): Head {
  return { title, system, sampling };
}

/** Changes what stands above the messages, whoever writes those. */
export async function set(id: string, head: Partial<Head>): Promise<void> {
  if (!database) return;
  const transaction = database.transaction(table, "readwrite");
  const objects = transaction.objectStore(table);
  const stored: unknown = await done(objects.get(id));
  if (!isFields(stored)) return;
  objects.put({ ...stored, ...head });
  await end(transaction);
  tellChanged(id);
}

/** Keeps these instead of whatever the store has of them. Rejects where the browser has no more room. */
export async function put(...conversations: Conversation[]): Promise<void> {
  if (!database) return;
  const transaction = database.transaction(table, "readwrite");
  const objects = transaction.objectStore(table);
  for (const one of conversations) {
    const stored = conversationOf(await done(objects.get(one.id)));
    one.rev = Math.max(one.rev, stored?.rev ?? 0) + 1;
    objects.put(one);
  }
  await end(transaction);
  tellChanged(...conversations.map(({ id }) => id));
}

export async function remove(id: string): Promise<void> {
  if (!database) return;
  await done(database.transaction(table, "readwrite").objectStore(table).delete(id));
  tellChanged(id);
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
