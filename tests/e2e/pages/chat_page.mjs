// The chat page in a real browser: $CHROMIUM, or Debian's.
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

export const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** A visitor of their own, with nothing kept. `page.faults`: what went wrong in the page, and what its policy refused. */
export async function visit(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (line) => {
    // A refusal that the page shows as such is no fault of its own.
    if (line.type() === "error" && !/Failed to load resource/.test(line.text())) page.faults.push(line.text());
  });
  await page.goto(url);
  return page;
}

export async function ask(page, text) {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

/** The last answer's words, once it is complete. */
export async function answer(page) {
  await page.locator(".turn.answer:last-child:not(.going)").waitFor();
  return page.locator(".turn.answer:last-child .prose").innerText();
}

/** Until the last answer is longer than so many characters. */
export const grown = (page, length) =>
  eventually(async () => (await page.locator(".turn.answer:last-child .prose").innerText()).length > length, "the answer grows");

export const send = (page) => page.locator("#send");

/** What axe-core finds, as lines; it may run beside the page's policy, which would not let it in. */
export async function axeFinds(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
}

/** Answers of the model in the page are these words instead, in the server's form. */
export async function sayInstead(page, words, pieces = 3) {
  await page.route("**/v1/chat/completions", async (route) => {
    const size = Math.ceil(words.length / pieces);
    const chunks = Array.from({ length: pieces }, (_, i) => ({
      choices: [{ index: 0, delta: { content: words.slice(i * size, (i + 1) * size) }, finish_reason: null }],
    }));
    chunks.push({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }], timings: { predicted_per_second: 42 } });
    const body = chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("") + "data: [DONE]\n\n";
    await route.fulfill({ status: 200, contentType: "text/event-stream", body });
  });
}
