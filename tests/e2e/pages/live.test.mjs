// The live page: a real 1bit-server, 1bit-landing before it, and a real Chromium.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventually, sleep, startServer } from "../server/harness.mjs";
import { startLanding, startProxy, watch } from "./landing.mjs";
import { axeFinds, hero, launch, look, state } from "./live_page.mjs";

const work = process.env.WORK;
const logLine = (round) =>
  `{"round":${round},"time":1,"prompt":"p","verdict":"exact","a_ms":1,"b_ms":1,"bytes":1,"prefix":1}\n`;

let browser, server, proxy, landing;
before(async () => {
  browser = await launch();
  server = await startServer();
  proxy = await startProxy(server.port);
  fs.writeFileSync(path.join(work, "burnin.jsonl"), Array.from({ length: 1200 }, (_, i) => logLine(i)).join(""));
  fs.writeFileSync(path.join(work, "numbers.html"), "<!doctype html><title>Numbers</title><h1>What was measured</h1>");
  landing = await startLanding(proxy.url, [
    "--burnin-log", path.join(work, "burnin.jsonl"),
    "--records-page", path.join(work, "numbers.html"),
  ]);
});
after(async () => {
  await Promise.all(loads.map((stop) => stop())); // of a test that failed, too
  await browser?.close();
  await landing?.stop();
  proxy?.stop();
  await server?.stop();
});

const openPage = (options) => look(browser, landing.url, options);

/** Answers under way until stop() is called. */
function load(streams) {
  let on = true;
  const one = async (seed) => {
    while (on) await server.json("/v1/completions", { prompt: "Once upon a time", max_tokens: 60, ignore_eos: true, seed }).catch(() => sleep(100));
  };
  const all = Array.from({ length: streams }, (_, i) => one(i));
  const stop = () => ((on = false), Promise.all(all));
  loads.push(stop);
  return { stop };
}
const loads = [];

test("the number follows a load within 3 s, and is that of the scrape whose time it carries", async () => {
  const page = await openPage();
  assert.equal((await hero(page)).text, "0.0");
  // The server counts whole seconds and the page hears every 1.5 s: of three loads one is told of within 3 s, also on a
  // machine that has more to do.
  let work_under_way, seconds = Infinity;
  for (let attempt = 0; attempt < 3 && seconds >= 3; ++attempt) {
    await work_under_way?.stop();
    await eventually(async () => (await hero(page)).value === 0, "it is quiet", 20);
    work_under_way = load(3);
    const begin = Date.now();
    await eventually(async () => (await hero(page)).value > 0, "the number moves", 10);
    seconds = (Date.now() - begin) / 1000;
    console.log(`the number moved after ${seconds.toFixed(2)} s`);
  }
  assert.ok(seconds < 3, `${seconds} s`);
  const seen = new Map();
  for (const end = Date.now() + 9000; Date.now() < end; await sleep(100)) {
    const { text, value, at } = await hero(page);
    assert.equal(text, value.toFixed(1));
    seen.set(at, value);
  }
  await work_under_way.stop();
  assert.ok(seen.size >= 5, `${seen.size} numbers`);
  for (const [at, value] of seen) {
    const scrape = proxy.scrapes.findLast(({ time }) => time <= at + 0.002); // the proxy's clock has milliseconds
    assert.equal(value, scrape.value);
    assert.ok(at - scrape.time < 1, `${at - scrape.time} s apart`);
  }
  const gaps = [...seen.keys()].slice(1).map((at, i) => at - [...seen.keys()][i]);
  for (const gap of gaps) assert.ok(gap > 1.2 && gap < 4, `${gap} s from one event to the next`);
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("the figures are there, and what does not exist says so", async () => {
  const page = await openPage();
  const facts = await page.evaluate(() =>
    Object.fromEntries([...document.querySelectorAll("#facts > div")].map((box) => [box.children[0].textContent, box.children[1].textContent])),
  );
  assert.match(facts["Running"], /^\d+$/);
  assert.match(facts["Waiting"], /^\d+$/);
  assert.match(facts["KV memory"], /^\d+ %$/);
  assert.match(facts["First token"], /^[\d.]+\s(ms|s)$/);
  assert.equal(facts["Burn-in, exact"], "100 %");
  for (const name of ["CPU", "GPU", "Power profile"]) assert.match(facts[name], /^(not available|\d+ °C|[a-z-]+)$/);
  assert.match(await page.textContent("#model"), /\w/);
  assert.match(await page.textContent(".services"), /not available: |none is installed|1bit-/);
  await page.click("#numbers");
  assert.equal(await page.textContent("h1"), "What was measured");
  await page.context().close();
});

test("a server that is killed is red within 5 s, and recovers without a reload", async () => {
  const page = await openPage();
  await page.evaluate(() => (window.sameDocument = true));
  assert.equal(await state(page), "up");
  server.child.kill("SIGKILL");
  const killed = Date.now();
  await eventually(async () => (await state(page)) === "down", "red", 10);
  console.log(`red after ${((Date.now() - killed) / 1000).toFixed(2)} s`);
  assert.ok(Date.now() - killed < 5000);
  assert.equal(await page.textContent("#tokps"), "offline");
  assert.match(await page.textContent("#alarm"), /Last seen \d+ s ago/);
  await page.waitForTimeout(1500); // colours fade
  assert.deepEqual(await axeFinds(page), []);
  server = await startServer();
  proxy.target = server.port;
  const back = Date.now();
  await eventually(async () => (await state(page)) === "up", "it recovers", 10);
  console.log(`up again after ${((Date.now() - back) / 1000).toFixed(2)} s`);
  assert.equal(await page.evaluate(() => window.sameDocument), true);
  await page.context().close();
});

test("a daemon that goes is red as well, and its page recovers", async () => {
  const other = await startLanding(proxy.url);
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(other.url);
  await eventually(async () => (await state(page)) === "up", "it is up");
  await other.stop();
  await eventually(async () => (await state(page)) === "down", "red", 6);
  assert.match(await page.textContent("#alarm"), /1bit-landing/);
  const again = await startLanding(proxy.url, [], other.port);
  await eventually(async () => (await state(page)) === "up", "it recovers", 10);
  await again.stop();
  await context.close();
});

test("500 viewers cost one look a second and less than 50 MB", async () => {
  const counter = await startProxy(server.port);
  const crowd = await startLanding(counter.url);
  const viewers = await watch(crowd, 500);
  await eventually(() => viewers.every(({ events }) => events > 0), "each has its first event", 15);
  const from = { scrapes: counter.scrapes.length, time: Date.now(), events: viewers.map(({ events }) => events) };
  const pages = setInterval(() => fetch(`${crowd.url}/metrics`).then((answer) => answer.text()), 100);
  await sleep(10_000);
  clearInterval(pages);
  const seconds = (Date.now() - from.time) / 1000;
  const looks = counter.scrapes.length - from.scrapes;
  const fewest = Math.min(...viewers.map(({ events }, i) => events - from.events[i]));
  console.log(`${looks} looks in ${seconds.toFixed(1)} s, ${fewest} events at least, ${crowd.peakMemory().toFixed(1)} MB at most`);
  assert.ok(looks <= seconds + 1, `${looks} looks in ${seconds} s`);
  assert.ok(fewest >= 5);
  assert.deepEqual(viewers.filter(({ error }) => error !== undefined), []);
  assert.ok(crowd.peakMemory() < 50, `${crowd.peakMemory()} MB`);
  viewers.stop();
  await sleep(5000);
  const quiet = counter.scrapes.length;
  await sleep(2500);
  assert.equal(counter.scrapes.length, quiet, "nobody watches, and still it looks");
  await crowd.stop();
  counter.stop();
});

test("axe-core finds nothing, in light, dark and on a phone", async () => {
  const some = load(4);
  for (const [name, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["phone", { colorScheme: "dark", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ]) {
    const page = await openPage(options);
    await eventually(async () => (await hero(page)).value > 0, "there is a number");
    assert.deepEqual(await axeFinds(page), []);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    assert.equal(wide, false, `${name} scrolls sideways`);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }
  await some.stop();
});

test("it can be used by keyboard, and keeps still for those who want that", async () => {
  const page = await openPage({ reducedMotion: "reduce", colorScheme: "light" });
  const reached = [];
  for (let i = 0; i < 2; ++i) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.id));
  }
  assert.deepEqual(reached, ["numbers", "theme"]);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).colorScheme), "dark");
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "it is remembered");
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".pill .dot")).animationName), "none");
  await page.context().close();
});

test("its policy lets nothing run that is not its own", async () => {
  const page = await openPage();
  const policy = (await (await fetch(landing.url)).headers.get("content-security-policy")) ?? "";
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|https?:/);
  const ran = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "window.injected = true";
    document.body.append(script);
    await fetch("http://127.0.0.1:9/").catch(() => {});
    return window.injected === true;
  });
  assert.equal(ran, false);
  await page.context().close();
});
