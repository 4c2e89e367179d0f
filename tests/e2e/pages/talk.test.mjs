// The talk button of the chat page in a real Chromium, whose microphone plays a WAV made by halo.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { eventually, startServer } from "../server/harness.mjs";
import { joined, rate, silence, spoken, transcribed, wavOf } from "../server/talk/sound.mjs";
import { axeFinds, phone } from "./chat_page.mjs";

const work = process.env.WORK;
const question = "What is the capital of France?";
let server;
before(async () => {
  server = await startServer();
});
after(async () => {
  await server?.stop();
});

/** What the page plays and when it stops, and when its microphone hears the first loud sound after silence. Runs in the page. */
function instrument() {
  window.played = { samples: [], stops: [], loud: [] };
  const { start, stop } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...args) {
    window.played.samples.push(...Array.from(this.buffer.getChannelData(0), (value) => Math.round(value * 32768)));
    window.played.end = Math.max(window.played.end ?? 0, performance.now() + (args[0] - this.context.currentTime + this.buffer.duration) * 1000);
    return start.apply(this, args);
  };
  AudioBufferSourceNode.prototype.stop = function (...args) {
    const stops = window.played.stops;
    if (performance.now() - (stops.at(-1) ?? 0) > 100) stops.push(performance.now());
    return stop.apply(this, args);
  };
  const ask = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (!ask) return;
  navigator.mediaDevices.getUserMedia = async (...args) => {
    const stream = await ask(...args);
    const context = new AudioContext();
    const meter = context.createAnalyser();
    meter.fftSize = 512;
    context.createMediaStreamSource(stream).connect(meter);
    const values = new Float32Array(meter.fftSize);
    let quiet = 0;
    setInterval(() => {
      meter.getFloatTimeDomainData(values);
      const now = performance.now();
      if (values.some((value) => Math.abs(value) > 0.02)) {
        if (now - quiet > 400 || window.played.loud.length === 0) window.played.loud.push(now);
        quiet = now;
      }
    }, 5);
    return stream;
  };
}

/** A browser whose microphone plays these samples, once. */
async function visitor(t, samples, options = {}) {
  const file = path.join(work, `microphone-${t.name.replace(/\W+/g, "-")}.wav`);
  fs.writeFileSync(file, wavOf(samples));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-dev-shm-usage",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      `--use-file-for-fake-audio-capture=${file}%noloop`,
      "--autoplay-policy=no-user-gesture-required",
    ],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  await context.addInitScript(instrument);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error" && !/Failed to load resource/.test(line.text())) page.faults.push(line.text());
  });
  t.after(async () => {
    await browser.close();
    assert.deepEqual(page.faults, []);
  });
  await page.goto(options.url ?? server.url);
  return page;
}

const talk = (page) => page.locator("#talk");
const played = (page) => page.evaluate(() => ({ ...window.played, samples: window.played.samples.length }));
const lastAnswer = (page) => page.locator(".turn.answer").last();

test("a question by voice is answered by voice, in the conversation", async (t) => {
  const page = await visitor(t, joined([silence(1), spoken(question).samples, silence(20)]));
  await talk(page).click();
  assert.equal(await talk(page).getAttribute("aria-pressed"), "true");
  await page.locator(".turn.user").waitFor();
  await page.getByText("The capital of France is Paris.").waitFor({ timeout: 60_000 });
  assert.equal(await page.locator(".turn.user .bubble").innerText(), "what is the capital of france");
  assert.deepEqual(await axeFinds(page), []);
  await eventually(async () => (await page.locator("#talk-state").innerText()).startsWith("Listening"), "its turn again", 60);
  const samples = Int16Array.from(await page.evaluate(() => window.played.samples));
  assert.ok(samples.length > rate, "more than a second was played");
  const heard = (await (await transcribed(server, wavOf(samples))).json()).text;
  t.diagnostic(`what was played, understood: ${heard}`);
  assert.match(heard, /paris/);
  assert.equal(await page.locator("#title").innerText(), "what is the capital of france");
  await page.keyboard.press("Escape");
  assert.equal(await talk(page).getAttribute("aria-pressed"), "false");
  assert.ok(await page.locator("#talk-state").isHidden());
  // It is a conversation like others: kept, and gone on with in letters.
  await page.reload();
  await page.getByText("The capital of France is Paris.").waitFor();
  await page.getByRole("textbox", { name: "Message", exact: true }).fill("What is the capital of Japan?");
  await page.keyboard.press("Enter");
  await page.getByText("The capital of Japan is Tokyo.").waitFor();
});

test("speaking stops what is played", async (t) => {
  // The second utterance comes while the answer to the first plays: a long one, of a server whose speech is slow.
  const page = await visitor(t, joined([silence(1), spoken("Tell me a short story.").samples, silence(6), spoken("Stop it now please, and listen to me.").samples, silence(20)]));
  await talk(page).click();
  await eventually(async () => (await played(page)).samples > 0, "the answer plays", 60);
  await eventually(async () => (await played(page)).loud.length > 1, "the second utterance", 30);
  const before = await played(page);
  const onset = before.loud[1];
  assert.ok(before.end > onset + 300, `the answer should play longer than until the second utterance: ${before.end - onset} ms`);
  await eventually(async () => (await played(page)).stops.some((at) => at > onset), "the playback stops", 10);
  const stopped = (await played(page)).stops.find((at) => at > onset) - onset;
  t.diagnostic(`from the beginning of speech to silence: ${stopped.toFixed(0)} ms`);
  assert.ok(stopped < 1000, `${stopped} ms`); // 200 on a machine that does nothing else; the figure is above
  await eventually(async () => (await lastAnswer(page).count()) > 0 && (await page.locator(".turn.answer .stats", { hasText: "stopped" }).count()) > 0, "the answer is marked", 30);
});

test("the button hides where the server has no voice, and says where the page may not have the microphone", async (t) => {
  const mute = await startServer(["--voice-sessions", "0"]);
  t.after(() => mute.stop());
  const page = await visitor(t, silence(1), { url: mute.url });
  await page.getByText("ready").waitFor();
  await page.locator("#send").waitFor();
  assert.ok(await talk(page).isHidden());

  const open = await startServer(["--allow-host", "insecure.example"]);
  t.after(() => open.stop());
  await page.route("http://insecure.example/**", async (route) => {
    const response = await fetch(route.request().url().replace("http://insecure.example", open.url), { method: route.request().method(), body: route.request().postData() });
    await route.fulfill({ status: response.status, headers: Object.fromEntries(response.headers), body: Buffer.from(await response.arrayBuffer()) });
  });
  await page.goto("http://insecure.example/");
  await talk(page).click();
  await page.getByText("secure pages only").waitFor();
  page.faults.length = 0; // the browser itself tells of a page that is not secure
});

test("with a key, on a phone, in the dark", async (t) => {
  const locked = await startServer([], { env: { ONEBIT_API_KEY: "a/key=(1)" } });
  t.after(() => locked.stop());
  const page = await visitor(t, joined([silence(1), spoken(question).samples, silence(20)]), { url: locked.url, colorScheme: "dark", ...phone });
  await page.getByLabel("API key", { exact: true }).fill("a/key=(1)");
  await page.getByRole("button", { name: "Use this key" }).click();
  await talk(page).click();
  await page.getByText("The capital of France is Paris.").waitFor({ timeout: 60_000 });
  assert.deepEqual(await axeFinds(page), []);
  await talk(page).click();
  assert.equal(await talk(page).getAttribute("aria-pressed"), "false");
});

test("a server that ends, and one that is full, end the talk with a sentence", async (t) => {
  const small = await startServer(["--voice-sessions", "1"]);
  const page = await visitor(t, silence(30), { url: small.url });
  await talk(page).click();
  await page.getByText("Listening").waitFor();
  const other = await page.context().newPage();
  await other.goto(small.url);
  await talk(other).click();
  await other.getByText("takes no further conversation").waitFor();
  assert.equal(await talk(other).getAttribute("aria-pressed"), "false");
  await small.stop();
  await page.locator(".toast").getByText("The server ended the talk").waitFor();
  assert.equal(await talk(page).getAttribute("aria-pressed"), "false");
  page.faults.length = 0; // the browser itself tells of sockets that were refused, and of a server that is gone
});
