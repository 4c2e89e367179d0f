// Numbers in few characters, however large they are.

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** 15K, 1.5M, 1.0e300. */
const short = (value: number) => (value < 1e15 ? compact.format(value) : value.toExponential(1).replace("+", ""));

/** Tokens a second. */
export const speed = (value: number) => (value < 1e6 ? value.toFixed(1) : short(value));
/** Of a scale that goes to `top`, and has round numbers. */
export const mark = (value: number, top: number) => (top < 1e4 ? String(+value.toFixed(2)) : short(value));
export const whole = (value: number) =>
  value < 1e7 ? value.toLocaleString("en-US", { maximumFractionDigits: 0 }) : short(value);
export const time = (s: number) =>
  s < 0.9995 ? `${Math.round(s * 1000)}\u00a0ms` : `${s < 1e5 ? s.toFixed(s < 9.95 ? 1 : 0) : short(s)}\u00a0s`;
/** Of a rate, 0 to 1: never 100 % where something differed. */
export const exactly = (rate: number) => (rate === 1 ? "100 %" : `${(Math.floor(rate * 10000) / 100).toFixed(2)} %`);
export const about = (rate: number) => (rate < 10 ? `${Math.round(rate * 100)} %` : "over 999 %");
