// The live page: one number to read across the room, what stands behind it, and red where the server is gone.
import { Chart } from "./chart";
import { showFacts } from "./facts";
import { Services } from "./services";
import type { Delta, Point, Snapshot, Stats } from "./stats";
import { setUpTheme } from "./theme";

const patience = 4500; // ms without an event, which comes every 1500

function at(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`#${id} is missing`);
  return found;
}

const chart = new Chart(at("chart"));
const services = new Services(at("services"), at("services-none"));
const clock = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

let lastEvent = performance.now(); // no clock that somebody may set
let lastSeen: number | null = null;
let down: string | null = null;

/** Only where it changed: a screen reader says it each time. */
function say(id: string, text: string): void {
  const place = at(id);
  if (place.textContent !== text) place.textContent = text;
}

function ago(since: number): string {
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - since));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} days ago`;
}

function showSeen(): void {
  if (down === null) return;
  say("alarm-seen", lastSeen === null ? "Not seen yet." : `Last seen ${ago(lastSeen)}, at ${clock(lastSeen)}.`);
}

function showState(wrong: string | null): void {
  down = wrong;
  document.body.dataset["state"] = wrong === null ? "up" : "down";
  at("alarm").hidden = wrong === null;
  say("state", wrong === null ? "Live" : "Offline");
  say("alarm-words", wrong === null ? "" : wrong);
  at("hero-name").hidden = at("as-of").hidden = wrong !== null;
  if (wrong !== null) {
    say("tokps", "offline");
    at("tokps").classList.remove("longer", "longest");
    at("tokps").classList.add("long");
    document.title = "offline · 1bit";
  }
  showSeen();
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function showStats(stats: Stats): void {
  lastEvent = performance.now();
  lastSeen = stats.last_seen;
  showState(stats.state === "up" ? null : sentence(stats.error ?? "the server does not answer"));
  const number = at("tokps");
  number.dataset["scrapedAt"] = String(stats.scraped_at);
  number.dataset["value"] = String(stats.tokps_recent);
  if (stats.tokps_recent !== null) {
    const text = stats.tokps_recent.toFixed(1);
    number.textContent = text;
    number.classList.remove("long", "longer", "longest");
    if (text.length > 5) number.classList.add(text.length > 7 ? "longest" : text.length > 6 ? "longer" : "long");
    document.title = `${text} tok/s · 1bit`;
  }
  const time = at("time") as HTMLTimeElement;
  time.textContent = clock(stats.scraped_at);
  time.dateTime = new Date(stats.scraped_at * 1000).toISOString();
  if (stats.model !== null) {
    at("model").textContent = stats.model;
    at("model").title = `${stats.model} on 1bit-server ${stats.version ?? ""} (${stats.isa ?? ""})`;
  }
  at("numbers").hidden = !stats.numbers;
  showFacts(at("facts"), stats);
  chart.add([stats.scraped_at, stats.tokps_recent]);
  say("chart-words", chart.words());
}

/** Connects, and again whenever the browser gives up (it does where a proxy answers with an error). */
function listen(path: string, handlers: Record<string, (data: unknown) => void>): void {
  const source = new EventSource(path);
  for (const [name, handle] of Object.entries(handlers))
    source.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(path, handlers), 1500);
  });
}

setUpTheme(at("theme"), at("theme-name"));
listen("./_live/stats", {
  history: (points) => chart.replace(points as Point[]),
  message: (stats) => showStats(stats as Stats),
});
listen("./_live/services", {
  snapshot: (all) => services.snapshot(all as Snapshot),
  delta: (change) => services.delta(change as Delta),
});
setInterval(() => {
  if (performance.now() - lastEvent > patience) showState("1bit-landing, which feeds this page, does not answer.");
  showSeen();
}, 500);
