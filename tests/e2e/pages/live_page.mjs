// The live page in a real browser: $CHROMIUM, or Debian's.
import fs from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { eventually } from "../server/harness.mjs";

const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });

/** A page of this context that shows something; it keeps what its console complains of, and what it asks of other hosts. */
export async function open(context, url) {
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => request.url().startsWith(url) || page.complaints.push(request.url()));
  await page.goto(url);
  // Not waitForFunction(): that evaluates texts in the page, which its policy forbids.
  await eventually(async () => (await state(page)) !== "waiting", "the first event");
  return page;
}

/** Likewise, by a visitor of their own. */
export async function look(browser, url, options = {}) {
  return open(await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options }), url);
}

export const state = (page) => page.evaluate(() => document.body.dataset.state);

/** The hero number with the time of its scrape. */
export const hero = (page) =>
  page.evaluate(() => {
    const number = document.getElementById("tokps");
    return { text: number.textContent, value: Number(number.dataset.value), at: Number(number.dataset.scrapedAt) };
  });

export const axeFinds = (page) =>
  page.evaluate(`${axe}; axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target).join()))`);
