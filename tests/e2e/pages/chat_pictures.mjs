// Pictures of the chat page for docs/pages: node chat_pictures.mjs FOLDER. All answers but one (chat-markdown.png's,
// which is of a file, and shows how text is set) are the bundled model's.
import fs from "node:fs/promises";
import path from "node:path";
import { startServer } from "../server/harness.mjs";
import { answer, ask, launch, phone, visit } from "./chat_page.mjs";

const folder = process.argv[2];
await fs.mkdir(folder, { recursive: true });
const server = await startServer();
const browser = await launch();

const before = [
  ["What is the capital of Norway?"],
  ["What is the chemical symbol for gold?", "What is the chemical symbol for iron?"],
  ["Who are you?"],
  ["What is the capital of Peru?"],
];
const shown = ["What is the capital of France?", "In which continent is Kenya?", "Tell me a short story."];

async function settings(page) {
  await page.getByRole("button", { name: "Settings of this conversation" }).click();
  await page.locator("#settings [name=temperature]").fill("0");
  await page.locator("#settings [name=max_tokens]").fill("116");
  await page.getByRole("button", { name: "Save" }).click();
}

async function talk(page, questions) {
  for (const question of questions) {
    await ask(page, question);
    await answer(page);
  }
}

async function picture(page, name) {
  await page.locator('#dot[data-state="ok"]').waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.mouse.move(0, 0);
  await page.waitForTimeout(300);
  await page.screenshot({ path: path.join(folder, `chat-${name}.png`) });
}

const wide = await visit(browser, server.url, { viewport: { width: 1280, height: 800 }, colorScheme: "light" });
await picture(wide, "empty");
await settings(wide);
for (const questions of [...before, shown]) {
  await wide.getByRole("button", { name: "New conversation" }).click();
  await talk(wide, questions);
}
await picture(wide, "light");
await wide.emulateMedia({ colorScheme: "dark" });
await picture(wide, "dark");
await wide.getByRole("button", { name: "Settings of this conversation" }).click();
await picture(wide, "settings");
await wide.keyboard.press("Escape");
const words =
  "Each weight is a **trit**, two bits in the file. Four of them are one byte:\n\n| trit | bits |\n|:--|--:|\n| −1 | `00` |\n| 0 | `01` |\n| +1 | `10` |\n\nA dot product is then sums and differences:\n\n```c++\nfor (size_t i = 0; i < n; ++i)\n  sum += trit[i] == 0 ? 0 : trit[i] > 0 ? x[i] : -x[i];\n```\n\n> An `<img src=x onerror=…>` in an answer stays what it is: words.\n";
const conversation = {
  id: "set",
  title: "How is a ternary weight stored?",
  updated: Date.now(),
  messages: [
    { role: "user", content: "How is a ternary weight stored?" },
    { role: "assistant", content: words },
  ],
};
const file = JSON.stringify({ format: "1bit-chat", version: 1, conversations: [conversation] });
await wide.locator("#file").setInputFiles({ name: "words.json", mimeType: "application/json", buffer: Buffer.from(file) });
await wide.locator("#list .choose").first().click();
await wide.locator(".toast").waitFor({ state: "detached" });
await picture(wide, "markdown");

const small = await visit(browser, server.url, { ...phone, colorScheme: "light" });
await settings(small);
await talk(small, shown);
await picture(small, "phone");
await browser.close();
await server.stop();
