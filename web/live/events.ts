// The events of /_live/stats?services=1, and what somebody who comes later has to be told of those that went before.
import type { Delta, Point, Snapshot, Stats, Unit } from "./stats";

export interface Events {
  history: Point[];
  message: Stats;
  snapshot: Snapshot;
  delta: Delta;
}
export type Name = keyof Events;
export const names: readonly Name[] = ["history", "message", "snapshot", "delta"];
export type LiveEvent = { [N in Name]: { name: N; data: Events[N] } }[Name];

export const stream = "./_live/stats?services=1";
export const patience = 4500; // ms without figures, which come every 1500
const seconds = 600; // of history

/** With one more figure, and without those that are too old. */
export function withPoint(points: Point[], point: Point): Point[] {
  const last = points.at(-1);
  if (last !== undefined && point[0] < last[0]) points = []; // the daemon's clock was set back
  if (last === undefined || point[0] !== last[0]) points.push(point);
  const first = points.findIndex(([time]) => time >= point[0] - seconds);
  return first > 0 ? points.slice(first) : points;
}

/** Connects, and again whenever the browser gives up (it does where a proxy answers with an error). */
export function listen(use: (event: LiveEvent) => void): void {
  const source = new EventSource(stream);
  for (const name of names)
    source.addEventListener(name, (event) => use({ name, data: JSON.parse((event as MessageEvent<string>).data) } as LiveEvent));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(use), 1500);
  });
}

export class Memory {
  private points: Point[] = [];
  private stats: Stats | null = null;
  private came = 0; // when the figures did, by performance.now()
  private services: Snapshot | null = null;

  take(event: LiveEvent): void {
    if (event.name === "history") this.points = event.data;
    else if (event.name === "snapshot") this.services = event.data;
    else if (event.name === "delta") this.services = changed(this.services, event.data);
    else {
      this.stats = event.data;
      this.came = performance.now();
      this.points = withPoint(this.points, [event.data.scraped_at, event.data.tokps_recent]);
    }
  }

  /** All that it takes to show what others show. Figures that are old are nobody's. */
  all(): LiveEvent[] {
    const events: LiveEvent[] = [{ name: "history", data: this.points }];
    if (this.services !== null) events.push({ name: "snapshot", data: this.services });
    if (this.stats !== null && performance.now() - this.came < patience) events.push({ name: "message", data: this.stats });
    return events;
  }
}

function changed(before: Snapshot | null, change: Delta): Snapshot {
  const units = new Map<string, Unit>(before?.units.map((unit) => [unit.name, unit]));
  for (const unit of change.changed) units.set(unit.name, unit);
  for (const name of change.removed) units.delete(name);
  return { available: true, reason: null, units: [...units.values()] };
}
