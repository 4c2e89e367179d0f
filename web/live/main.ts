// The live page: one number to read across the room, what stands behind it, and red where the server is gone.
import { Chart } from "./chart";
import { patience } from "./events";
import { showFacts } from "./facts";
import { follow } from "./follow";
import { speed } from "./numbers";
import { Services } from "./services";
import type { Stats } from "./stats";
import { setUpTheme } from "./theme";

function at(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`#${id} is missing`);
  return found;
}

const chart = new Chart(at("chart"));
const services = new Services(at("services"), at("services-none"));
const clock = (seconds: number) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

// By performance.now(), a clock that nobody sets; the time of day here may be wrong, too.
let lastEvent = performance.now();
let lastSeen: { at: number; age: number } | null = null; // as the daemon's clock had it; seconds before lastEvent
let down: string | null = null;

/** Only where it changed: a screen reader says it each time. */
function say(id: string, text: string): void {
  const place = at(id);
  if (place.textContent !== text) place.textContent = text;
}

function ago(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} days ago`;
}

function showSeen(): void {
  if (down === null) return;
  const age = (lastSeen?.age ?? 0) + (performance.now() - lastEvent) / 1000;
  say("alarm-seen", lastSeen === null ? "Not seen yet." : `Last seen ${ago(age)}, at ${clock(lastSeen.at)}.`);
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

/** A server that is away may come back with the same; one that is there and names none has none. */
function showModel({ state, model, version, isa }: Stats): void {
  if (state === "down") return;
  at("model").textContent = model ?? "no model";
  at("model").title = `${model ?? "no model"} on 1bit-server ${version ?? ""} (${isa ?? ""})`;
}

function showStats(stats: Stats): void {
  lastEvent = performance.now();
  lastSeen = stats.last_seen === null ? null : { at: stats.last_seen, age: stats.last_seen_age ?? 0 };
  showState(stats.state === "up" ? null : sentence(stats.error ?? "the server does not answer"));
  const number = at("tokps");
  number.dataset["scrapedAt"] = String(stats.scraped_at);
  number.dataset["value"] = String(stats.tokps_recent);
  if (stats.tokps_recent !== null) {
    const text = speed(stats.tokps_recent);
    number.textContent = text;
    number.classList.remove("long", "longer", "longest");
    if (text.length > 5) number.classList.add(text.length > 7 ? "longest" : text.length > 6 ? "longer" : "long");
    document.title = `${text} tok/s · 1bit`;
  }
  const time = at("time") as HTMLTimeElement;
  time.textContent = clock(stats.scraped_at);
  time.dateTime = new Date(stats.scraped_at * 1000).toISOString();
  showModel(stats);
  at("numbers").hidden = !stats.numbers;
  showFacts(at("facts"), stats);
  chart.add([stats.scraped_at, stats.tokps_recent]);
  say("chart-words", chart.words());
}

setUpTheme(at("theme"), at("theme-name"));
follow((event) => {
  if (event.name === "message") showStats(event.data);
  else if (event.name === "history") chart.replace(event.data);
  else if (event.name === "snapshot") services.snapshot(event.data);
  else services.delta(event.data);
});
setInterval(() => {
  if (performance.now() - lastEvent > patience) showState("1bit-landing, which feeds this page, does not answer.");
  showSeen();
}, 500);
