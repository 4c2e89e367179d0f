// What the tabs of one browser tell each other: what has changed in the store, and who writes an answer where.

type Note = { changed: string[] } | { writes: string } | { rests: string } | { who: true };

export interface TabEvents {
  /** Another tab has written or deleted these conversations. */
  changed(ids: string[]): void;
  /** Another tab begins or ends to write an answer in this conversation; one that was closed in the midst ends, too. */
  writer(id: string): void;
}

const beat = 1000; // ms between two signs of life of who writes
const patience = 3500; // ms without one: that tab is closed

const channel = "BroadcastChannel" in window ? new BroadcastChannel("1bit-chat") : undefined;
const elsewhere = new Map<string, number>(); // when it was last heard that another tab writes there
const here = new Set<string>();
let events: TabEvents = { changed: () => undefined, writer: () => undefined };

const tell = (note: Note) => channel?.postMessage(note);

function rests(id: string): void {
  if (elsewhere.delete(id)) events.writer(id);
}

function hear(note: Note): void {
  if ("changed" in note) events.changed(note.changed);
  else if ("who" in note) for (const id of here) tell({ writes: id });
  else if ("rests" in note) rests(note.rests);
  else {
    const news = !elsewhere.has(note.writes);
    elsewhere.set(note.writes, performance.now());
    if (news) events.writer(note.writes);
  }
}

export function setUpTabs(what: TabEvents): void {
  events = what;
  if (!channel) return;
  channel.onmessage = (event: MessageEvent<Note>) => hear(event.data);
  setInterval(() => {
    for (const id of here) tell({ writes: id });
    for (const [id, heard] of elsewhere) if (performance.now() - heard > patience) rests(id);
  }, beat);
  tell({ who: true });
}

export function tellChanged(...ids: string[]): void {
  tell({ changed: ids });
}

/** This tab writes an answer there, or does no longer. */
export function tellWriting(id: string, writes: boolean): void {
  if (writes) here.add(id);
  else here.delete(id);
  tell(writes ? { writes: id } : { rests: id });
}

/** Whether another tab writes an answer there. */
export function writtenElsewhere(id: string): boolean {
  return elsewhere.has(id);
}
