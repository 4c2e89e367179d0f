// The live page where something is unlike what one expects: many tabs, a wrong clock, absurd figures, a name that nobody
// looks up, a small screen.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { eventually, sleep } from "../server/harness.mjs";
import { startFake, startLanding as startOne } from "./landing.mjs";
import { axeFinds, hero, launch, look, open, state } from "./live_page.mjs";

const usual = {
  tokps_recent: 117.4,
  onebit_running_requests: 3,
  onebit_queue_length: 0,
  onebit_kv_pages: 50,
  onebit_kv_pages_limit: 200,
  'onebit_requests_total{outcome="stop"}': 123_456,
  'onebit_requests_total{outcome="error"}': 12,
  'onebit_time_to_first_token_seconds_bucket{le="0.2"}': 12,
  'onebit_time_to_first_token_seconds_bucket{le="+Inf"}': 12,
};
const model = (name) => ({ ...usual, [`onebit_build_info{isa="avx2",model="${name}",version="0.1.0"}`]: 1 });

let browser, fake, landing;
const started = []; // also by a test that failed
async function startLanding(...settings) {
  started.push(await startOne(...settings));
  return started.at(-1);
}
before(async () => {
  browser = await launch();
  fake = await startFake();
  landing = await startLanding(fake.url);
});
beforeEach(() => (fake.figures = { ...usual }));
after(async () => {
  await browser?.close();
  for (const { child } of started) child.kill("SIGKILL");
  fake?.stop();
});

async function viewers() {
  const text = await (await fetch(`${landing.url}/metrics`)).text();
  return Number(/^onebit_landing_viewers (\d+)$/m.exec(text)[1]);
}

/** Each page shows another scrape than now, within a while. */
async function allMove(pages) {
  const before = await Promise.all(pages.map(hero));
  await eventually(async () => (await Promise.all(pages.map(hero))).every(({ at }, i) => at > before[i].at), "all numbers move", 15);
  for (const page of pages) assert.equal(await state(page), "up");
}

test("eight tabs of one browser all show moving numbers, over one stream", async () => {
  const context = await browser.newContext();
  const pages = [];
  for (let i = 0; i < 8; ++i) pages.push(await open(context, landing.url));
  await allMove(pages);
  assert.equal(await viewers(), 1);
  await pages.shift().close(); // the one that came first
  await allMove(pages);
  await pages[0].reload();
  await allMove(pages);
  // What came before a page did is there at once.
  const points = await pages[0].evaluate(() => document.querySelector("#chart .line").getAttribute("d").split("L").length);
  assert.ok(points >= 3, `${points} points`);
  for (const page of pages) {
    assert.match(await page.textContent(".services"), /not available: |none is installed|1bit-/);
    assert.deepEqual(page.complaints, []);
  }
  await context.close();
  await eventually(async () => (await viewers()) === 0, "the stream ends with its last page", 15);
});

test("where pages cannot share, each has one stream of its own", async () => {
  for (const without of [() => delete window.SharedWorker, () => (window.SharedWorker = class { constructor() { throw new Error("forbidden"); } })]) {
    const context = await browser.newContext();
    await context.addInitScript(without);
    const asked = [];
    context.on("request", (request) => asked.push(new URL(request.url()).pathname));
    const pages = [await open(context, landing.url), await open(context, landing.url)];
    await allMove(pages);
    assert.equal(await viewers(), 2);
    assert.equal(asked.filter((route) => route.startsWith("/_live/")).length, 2);
    assert.match(await pages[0].textContent(".services"), /not available: |none is installed|1bit-/);
    await context.close();
    await eventually(async () => (await viewers()) === 0, "they are gone", 15);
  }
});

test("a worker that cannot begin, or says nothing, is given up", async () => {
  const useless = [
    () => {
      const Real = window.SharedWorker;
      window.SharedWorker = class extends Real {
        constructor(url, options) {
          super(String(url).replace("feed.js", "page.svg"), options); // no script
        }
      };
    },
    () => {
      window.SharedWorker = class extends EventTarget {
        port = new MessageChannel().port1;
      };
    },
  ];
  for (const script of useless) {
    const context = await browser.newContext();
    await context.addInitScript(script);
    const page = await context.newPage();
    await page.goto(landing.url);
    await eventually(async () => (await state(page)) === "up", "it goes on alone", 15);
    await context.close();
  }
});

test("a wrong clock in the browser changes nothing", async () => {
  for (const hours of [-5, 7]) {
    const context = await browser.newContext();
    await context.addInitScript((offset) => {
      const now = Date.now;
      Date.now = () => now() + offset;
    }, hours * 3_600_000);
    const page = await open(context, landing.url);
    await eventually(async () => (await state(page)) === "up", "up");
    fake.figures = {};
    await eventually(async () => (await state(page)) === "down", "down");
    await sleep(2500);
    const words = await page.textContent("#alarm-seen");
    const seconds = Number(/^Last seen (\d+) s ago, at \d\d:\d\d:\d\d\.$/.exec(words)?.[1]);
    assert.ok(seconds >= 2 && seconds < 60, words);
    fake.figures = usual;
    await context.close();
  }
});

test("nothing scrolls at 1280 by 720, up or down", async () => {
  fake.figures = model("a-model-with-a-name-that-is-rather-long-".repeat(4));
  const page = await look(browser, landing.url, { viewport: { width: 1280, height: 720 } });
  const size = () => page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]);
  for (const number of [9.5, 117.4, 13_000.4, 1e300]) {
    fake.figures = { ...model("a-model-with-a-name-that-is-rather-long-".repeat(4)), tokps_recent: number };
    await eventually(async () => (await hero(page)).value === number, `${number} is shown`);
    assert.deepEqual(await size(), [1280, 720], `${number}`);
  }
  fake.figures = {};
  await eventually(async () => (await state(page)) === "down", "down");
  assert.deepEqual(await size(), [1280, 720], "down");
  await page.context().close();
});

test("absurd figures are words that fit, also on a small screen", async () => {
  for (const number of [15_000, 999_999, 1.5e9, 1e300, 1.7e308]) {
    fake.figures = {
      tokps_recent: number,
      onebit_running_requests: number,
      onebit_queue_length: number,
      onebit_kv_pages: number,
      onebit_kv_pages_limit: 1,
      'onebit_requests_total{outcome="stop"}': number,
      'onebit_time_to_first_token_seconds_bucket{le="1e300"}': 1,
      'onebit_time_to_first_token_seconds_bucket{le="+Inf"}': 1,
    };
    const page = await look(browser, landing.url, { viewport: { width: 320, height: 640 } });
    await eventually(async () => (await hero(page)).value === number, `${number} is shown`);
    await sleep(100);
    const wide = await page.evaluate(() => {
      const beyond = (box, outer) => box.left < outer.left - 0.5 || box.right > outer.right + 0.5;
      const chart = document.querySelector("#chart").getBoundingClientRect();
      const clipped = [...document.querySelectorAll("#chart text")].filter((text) => beyond(text.getBoundingClientRect(), chart));
      const range = document.createRange();
      const over = [...document.querySelectorAll("#tokps, #facts dd, #chart-words")].filter((place) => {
        range.selectNodeContents(place);
        return beyond(range.getBoundingClientRect(), { left: 0, right: window.innerWidth });
      });
      return [...clipped, ...over].map((place) => place.textContent).concat(document.documentElement.scrollWidth > window.innerWidth ? ["the page"] : []);
    });
    assert.deepEqual(wide, [], `${number}`);
    const words = await page.evaluate(() => document.querySelector("main").textContent);
    assert.doesNotMatch(words, /NaN|Infinity|undefined|null|\d{10}|e\+/, words);
    assert.match(await page.textContent("#chart-words"), /^highest [\d.]+([KMBT]|e\d+)?, mean [\d.]+([KMBT]|e\d+)?$/);
    const drawn = await page.evaluate(() => document.querySelector("#chart svg").outerHTML);
    assert.doesNotMatch(drawn, /NaN|Infinity/);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }
});

test("a model that is there no more is not shown any more, and names are cleaned", async () => {
  fake.figures = model("tiny");
  const page = await look(browser, landing.url);
  const name = () => page.textContent("#model");
  await eventually(async () => (await name()) === "tiny", "its name");
  fake.figures = model("evil\u202Egpj.exe\u0007<b>");
  await eventually(async () => (await name()) === "evil\uFFFDgpj.exe\uFFFD<b>", "a clean name");
  fake.figures = usual;
  await eventually(async () => (await name()) === "no model", "it is gone");
  assert.doesNotMatch(await page.getAttribute("#model", "title"), /evil|tiny/);
  assert.deepEqual(await axeFinds(page), []);
  await page.context().close();
});

test("a name that nobody looks up is blamed, and ends nothing late", async () => {
  const slow = await startLanding("http://60.seconds.test", [], 0, { LD_PRELOAD: process.env.SLOW_NAMES });
  const page = await look(browser, slow.url);
  for (let i = 0; i < 8; ++i, await sleep(1000)) assert.match(await page.textContent("#alarm-words"), /name \(60\.seconds\.test\)/);
  const begin = Date.now();
  assert.equal(await slow.stop(), 0);
  assert.ok(Date.now() - begin < 10_000, `${Date.now() - begin} ms`);
  await page.context().close();
});

test("a key file that is not there, or has no key, is said: at the start, and on the page", async () => {
  const file = path.join(process.env.WORK, "key");
  fs.rmSync(file, { force: true });
  const start = () => spawnSync(process.env.LANDING, ["--port", "0", "--api-key-file", file], { encoding: "utf8", timeout: 10_000 });
  for (const [text, words] of [[null, /cannot be read: No such file/], ["", /holds no key/], ["# none\n", /holds no key/]]) {
    if (text !== null) fs.writeFileSync(file, text);
    const { status, stderr } = start();
    assert.equal(status, 2, stderr);
    assert.match(stderr, words);
    assert.ok(stderr.includes(file), stderr);
  }
  fs.writeFileSync(file, "secret\n");
  const own = await startLanding(fake.url, ["--api-key-file", file]);
  const page = await look(browser, own.url);
  assert.equal(await state(page), "up");
  fs.rmSync(file);
  await eventually(async () => (await state(page)) === "down", "red");
  assert.match(await page.textContent("#alarm-words"), /--api-key-file\) cannot be read: No such file/);
  fs.writeFileSync(file, "secret-2\n");
  await eventually(async () => (await state(page)) === "up", "it recovers");
  await own.stop();
  await page.context().close();
});

test("settings that cannot be are refused", () => {
  for (const flags of [["--server", "http://[::1]x:80"], ["--max-connections", "0"], ["--max-connections", "-1"]]) {
    const { status, stderr } = spawnSync(process.env.LANDING, ["--port", "0", ...flags], { encoding: "utf8", timeout: 10_000 });
    assert.equal(status, 2, `${flags}: ${stderr}`);
    assert.ok(stderr.includes(flags[0]), stderr);
  }
});
