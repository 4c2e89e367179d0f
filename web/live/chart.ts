// Tokens a second over the last ten minutes, as an SVG that is drawn anew with each figure.
import { withPoint } from "./events";
import { mark, speed } from "./numbers";
import type { Point } from "./stats";

const seconds = 600;
const gap = 8; // seconds without a figure: nobody watched, or nothing came
const margin = { top: 10, right: 14, bottom: 26 };
const parts = [0, 0.5, 1]; // of the scale, that have marks
const digit = 8; // pixels, and a little more than one takes

const svg = (name: string, attributes: Record<string, string | number>, text = ""): SVGElement => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== "") element.textContent = text;
  return element;
};

/** The smallest round number, one of these steps times a power of ten that is at least `value`. */
export function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) if (step * power >= value * 0.999999) return Math.min(step * power, Number.MAX_VALUE);
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
    this.points = withPoint(this.points, point);
    this.draw();
  }

  /** Highest and mean, for those who do not see it. */
  words(): string {
    const values = this.points.flatMap(([, value]) => (value === null ? [] : [value]));
    if (values.length === 0) return "";
    const mean = values.reduce((sum, value) => sum + value / values.length, 0); // the sum of all may be no number
    return `highest ${speed(Math.max(...values))}, mean ${speed(mean)}`;
  }

  private draw(): void {
    const width = Math.max(this.place.clientWidth, 160);
    const height = Math.max(this.place.clientHeight, 100);
    const end = this.points.at(-1)?.[0] ?? 0;
    const top = roundUp(Math.max(1, ...this.points.map(([, value]) => value ?? 0)));
    const left = 14 + digit * Math.max(4, ...parts.map((part) => mark(top * part, top).length));
    const x = (time: number) => left + ((time - end) / seconds + 1) * (width - left - margin.right);
    const y = (value: number) => height - margin.bottom - (value / top) * (height - margin.top - margin.bottom);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    this.drawGrid(root, { width, height, left, top, end, x, y });
    this.drawAbsences(root, x, y(top), y(0));
    this.drawLine(root, x, y);
    this.place.replaceChildren(root);
  }

  private drawGrid(
    root: SVGElement,
    at: { width: number; height: number; left: number; top: number; end: number; x: (time: number) => number; y: (value: number) => number },
  ): void {
    for (const part of parts) {
      const value = at.top * part;
      root.append(svg("line", { class: "grid", x1: at.left, x2: at.width - margin.right, y1: at.y(value), y2: at.y(value) }));
      root.append(svg("text", { class: "tick", x: at.left - 8, y: at.y(value) + 4, "text-anchor": "end" }, mark(value, at.top)));
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
