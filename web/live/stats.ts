// What the daemon says (docs/live.md). A source that does not exist is null.

export interface Stats {
  scraped_at: number; // seconds since 1970
  state: "up" | "down";
  last_seen: number | null;
  last_seen_age: number | null; // seconds
  error: string | null;
  tokps_recent: number | null;
  requests: { running: number | null; total: number | null; failed: number | null };
  queue: number | null;
  kv: { pages: number | null; limit: number | null; use: number | null };
  ttft: { p50: number | null; p90: number | null; p99: number | null; count: number | null };
  temperature: { cpu: number | null; gpu: number | null };
  power_profile: string | null;
  model: string | null;
  version: string | null;
  isa: string | null;
  burnin: { exact_rate: number; exact: number; rounds: number } | null;
  numbers: boolean;
}

/** When, in seconds since 1970, and tokens a second; null where the server was absent. */
export type Point = [time: number, value: number | null];

export interface Unit {
  name: string;
  description: string;
  load: string;
  active: string;
  sub: string;
}

export interface Snapshot {
  available: boolean;
  reason: string | null;
  units: Unit[];
}

export interface Delta {
  changed: Unit[];
  removed: string[];
}
