// The figures beside the hero number.
import { about, exactly, time, whole } from "./numbers";
import type { Stats } from "./stats";

const none = "not available";

interface Row {
  name: string;
  value: string | null;
  note?: string;
  bar?: number; // 0 to 1
}

function rows(s: Stats): Row[] {
  const note = (text: string | false): { note?: string } => (text === false ? {} : { note: text });
  const { requests, kv, ttft, temperature, burnin } = s;
  const use = kv.use;
  return [
    {
      name: "Running",
      value: requests.running === null ? null : whole(requests.running),
      ...note(
        requests.total !== null &&
          `${whole(requests.total)} ended${requests.failed ? `, ${whole(requests.failed)} failed` : ""}`,
      ),
    },
    { name: "Waiting", value: s.queue === null ? null : whole(s.queue) },
    {
      name: "KV memory",
      value: use === null ? null : about(use),
      ...note(kv.pages !== null && kv.limit !== null && `${whole(kv.pages)} of ${whole(kv.limit)} pages`),
      ...(use === null ? {} : { bar: use }),
    },
    {
      name: "First token",
      value: ttft.p50 === null ? null : time(ttft.p50),
      ...note(ttft.p90 !== null && ttft.p99 !== null && `p90\u00a0${time(ttft.p90)}, p99\u00a0${time(ttft.p99)}`),
    },
    { name: "CPU", value: temperature.cpu === null ? null : `${Math.round(temperature.cpu)} °C` },
    { name: "GPU", value: temperature.gpu === null ? null : `${Math.round(temperature.gpu)} °C` },
    { name: "Power profile", value: s.power_profile },
    {
      name: "Burn-in, exact",
      value: burnin === null ? null : exactly(burnin.exact_rate),
      ...note(
        burnin !== null &&
          (burnin.exact < burnin.rounds ? `${whole(burnin.exact)} of ` : "all ") + `${whole(burnin.rounds)} rounds`,
      ),
    },
  ];
}

const element = (name: string, className: string, text: string): HTMLElement => {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
};

/** Fills the list anew where something changed. */
export function showFacts(list: HTMLElement, stats: Stats): void {
  const made = rows(stats).map((row) => {
    const box = document.createElement("div");
    box.append(element("dt", "", row.name), element("dd", row.value === null ? "none" : row.value.length > 7 ? "figure word" : "figure", row.value ?? none));
    if (row.note !== undefined) box.append(element("dd", "note", row.note));
    if (row.bar !== undefined) {
      const bar = element("dd", "bar", "");
      bar.setAttribute("aria-hidden", "true");
      const fill = document.createElement("span");
      fill.style.width = `${Math.min(1, row.bar) * 100}%`;
      bar.append(fill);
      box.append(bar);
    }
    return box;
  });
  list.replaceChildren(...made);
}
