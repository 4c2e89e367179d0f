// Tokens a second over the last ten minutes, as an SVG that is drawn anew with each figure.
import type { Point } from "./stats";

const seconds = 600;
const gap = 8; // seconds without a figure: nobody watched, or nothing came
const margin = { top: 10, right: 14, bottom: 26, left: 46 };

const svg = (name: string, attributes: Record<string, string | number>, text = ""): SVGElement => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== "") element.textContent = text;
  return element;
};

/** The smallest round number, one of these steps times a power of ten that is at least `value`. */
export function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) if (step * power >= value * 0.999999) return step * power;
  return 10 * power;
}

export class Chart {
  private points: Point[] = [];

  constructor(private readonly place: HTMLElement) {
    new ResizeObserver(() => this.draw()).observe(place);
  }

  replace(points: Point[]): void {
    this.points = points.slice(-2000);
  }

  add(point: Point): void {
    const last = this.points.at(-1);
    if (last !== undefined && point[0] < last[0]) this.points = []; // the daemon's clock was set back
    if (last === undefined || point[0] !== last[0]) this.points.push(point);
    const first = this.points.findIndex(([time]) => time >= point[0] - seconds);
    if (first > 0) this.points.splice(0, first);
    this.draw();
  }

  /** Highest and mean, for those who do not see it. */
  words(): string {
    const values = this.points.flatMap(([, value]) => (value === null ? [] : [value]));
    if (values.length === 0) return "";
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return `highest ${Math.max(...values).toFixed(1)}, mean ${mean.toFixed(1)}`;
  }

  private draw(): void {
    const width = Math.max(this.place.clientWidth, 160);
    const height = Math.max(this.place.clientHeight, 100);
    const end = this.points.at(-1)?.[0] ?? Date.now() / 1000;
    const top = roundUp(Math.max(1, ...this.points.map(([, value]) => value ?? 0)));
    const x = (time: number) => margin.left + ((time - end) / seconds + 1) * (width - margin.left - margin.right);
    const y = (value: number) => height - margin.bottom - (value / top) * (height - margin.top - margin.bottom);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    this.drawGrid(root, { width, height, top, end, x, y });
    this.drawAbsences(root, x, y(top), y(0));
    this.drawLine(root, x, y);
    this.place.replaceChildren(root);
  }

  private drawGrid(
    root: SVGElement,
    at: { width: number; height: number; top: number; end: number; x: (time: number) => number; y: (value: number) => number },
  ): void {
    for (const part of [0, 0.5, 1]) {
      const value = at.top * part;
      root.append(svg("line", { class: "grid", x1: margin.left, x2: at.width - margin.right, y1: at.y(value), y2: at.y(value) }));
      root.append(svg("text", { class: "tick", x: margin.left - 8, y: at.y(value) + 4, "text-anchor": "end" }, String(+value.toFixed(2))));
    }
    const minutes = at.width < 420 ? [10, 5, 0] : [10, 8, 6, 4, 2, 0];
    for (const ago of minutes) {
      const anchor = ago === 0 ? "end" : ago === 10 ? "start" : "middle";
      const words = ago === 0 ? "now" : `−${ago} min`;
      root.append(svg("text", { class: "tick", x: at.x(at.end - ago * 60), y: at.height - 6, "text-anchor": anchor }, words));
    }
  }

  /** Where the server did not answer. */
  private drawAbsences(root: SVGElement, x: (time: number) => number, top: number, bottom: number): void {
    for (let i = 0; i < this.points.length; ) {
      let end = i;
      while (end < this.points.length && this.points[end]![1] === null) ++end;
      if (end > i) {
        const from = x(this.points[i]![0]);
        const to = x(this.points[Math.min(end, this.points.length - 1)]![0]);
        root.append(svg("rect", { class: "absent", x: from, y: top, width: Math.max(2, to - from), height: bottom - top }));
      }
      i = end + 1;
    }
  }

  private drawLine(root: SVGElement, x: (time: number) => number, y: (value: number) => number): void {
    let run: [number, number][] = [];
    let before = -Infinity;
    const flush = () => {
      if (run.length > 0) {
        const line = run.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L");
        const [left, right] = [run[0]![0].toFixed(1), run.at(-1)![0].toFixed(1)];
        root.append(svg("path", { class: "area", d: `M${left} ${y(0)}L${line}L${right} ${y(0)}Z` }));
        root.append(svg("path", { class: "line", d: `M${line}` }));
      }
      run = [];
    };
    for (const [time, value] of this.points) {
      if (value === null || time - before > gap) flush();
      if (value !== null) run.push([x(time), y(value)]);
      before = time;
    }
    const last = run.at(-1);
    flush();
    if (last !== undefined) root.append(svg("circle", { class: "end", cx: last[0], cy: last[1], r: 5 }));
  }
}
