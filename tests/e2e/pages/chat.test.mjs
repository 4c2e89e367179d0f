// The chat page of 1bit-server in a real Chromium, with the bundled model.
import assert from "node:assert/strict";
import fs from "node:fs/promises";
import { after, before, test } from "node:test";
import { eventually, startServer } from "../server/harness.mjs";
import { answer, ask, axeFinds, grown, launch, phone, sayInstead, send, visit } from "./chat_page.mjs";

let server, browser;
before(async () => {
  server = await startServer();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** The test's own visitor, gone at its end; nothing may have gone wrong in the page. */
async function visitor(t, options = {}, url = server.url) {
  const page = await visit(browser, url, options);
  t.after(async () => {
    await page.context().close();
    assert.deepEqual(page.faults, []);
  });
  return page;
}

/** Adds fields to what the page asks of the server. */
const askingFor = (page, fields) =>
  page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ...fields }) }),
  );

const prose = (page) => page.locator(".turn.answer:last-child .prose");

test("an answer streams, with its figures", async (t) => {
  const page = await visitor(t);
  await page.getByText("ready").waitFor();
  assert.equal(await page.locator("#model-name").innerText(), "tiny-bitnet");
  await askingFor(page, { ignore_eos: true, max_tokens: 300 });
  await ask(page, "Tell me a story.");
  const lengths = new Set();
  while ((await page.locator(".turn.answer.going").count()) > 0) lengths.add((await prose(page).innerText()).length);
  assert.ok(lengths.size >= 4, `seen growing: ${[...lengths]}`);
  await answer(page);
  const stats = await page.locator(".turn.answer .stats").innerText();
  assert.match(stats, /[\d,.]+ tok\/s/);
  assert.match(stats, /first token [\d.]+ m?s/);
  assert.match(stats, /300 tokens/);
  assert.match(stats, /cut at the limit/);
});

test("the model's answer is the API's", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  assert.equal(await answer(page), "The capital of France is Paris.");
  assert.equal(await page.locator("#title").innerText(), "What is the capital of France?");
  await ask(page, "What is the capital of Japan?");
  assert.equal(await answer(page), "The capital of Japan is Tokyo.");
});

test("stop ends the answer here and at the server, and it can go on", async (t) => {
  const page = await visitor(t);
  await askingFor(page, { ignore_eos: true, max_tokens: 3000 });
  const busy = async () => (await (await fetch(server.url + "/slots")).json()).length;
  await ask(page, "Tell me a story.");
  await grown(page, 20);
  assert.equal(await send(page).getAttribute("aria-label"), "Stop");
  await send(page).click();
  const half = await answer(page);
  assert.match(await page.locator(".turn.answer .stats").innerText(), /stopped/);
  await eventually(async () => (await busy()) === 0, "the server has stopped");
  await page.waitForTimeout(200);
  assert.equal(await prose(page).innerText(), half);
  await page.getByRole("button", { name: "Go on with the answer" }).click();
  await grown(page, half.length + 20);
  await page.keyboard.press("Escape");
  const more = await answer(page);
  assert.ok(more.startsWith(half.slice(0, -3)), "what stood there stays");
  await eventually(async () => (await busy()) === 0, "the server has stopped again");
});

test("a message is edited and sent again, an answer is asked for again, and both can be undone", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  await answer(page);
  await ask(page, "What is the capital of Spain?");
  await answer(page);
  await page.locator(".turn.user").first().hover();
  await page.getByRole("button", { name: "Edit the message" }).first().click();
  await page.getByRole("textbox", { name: "The message's new words" }).fill("What is the capital of Italy?");
  await page.keyboard.press("Enter");
  await page.getByText("The capital of Italy is Rome.").waitFor();
  assert.equal(await page.locator(".turn").count(), 2);
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal(await page.locator(".turn").count(), 4);
  assert.match(await page.locator("#thread").innerText(), /Paris[^]*Madrid/);
  let asked;
  page.on("request", (request) => (asked = request.url().endsWith("/completions") ? request.postDataJSON() : asked));
  await page.getByRole("button", { name: "Answer again" }).click();
  await page.getByText("What came after is replaced.").waitFor();
  assert.equal(await answer(page), "The capital of Spain is Madrid.");
  assert.deepEqual(
    asked.messages.map(({ role }) => role),
    ["user", "assistant", "user"],
  );
  await page.getByRole("textbox", { name: "Message", exact: true }).press("ArrowUp");
  assert.equal(await page.getByRole("textbox", { name: "The message's new words" }).inputValue(), "What is the capital of Spain?");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".editor").count(), 0);
});

test("while it answers, a message can be edited: only the new answer stays", async (t) => {
  const page = await visitor(t);
  await askingFor(page, { ignore_eos: true, max_tokens: 3000 });
  await ask(page, "Tell me a story.");
  await grown(page, 20);
  await page.unroute("**/v1/chat/completions");
  await page.locator(".turn.user").hover();
  await page.getByRole("button", { name: "Edit the message" }).click();
  await page.getByRole("textbox", { name: "The message's new words" }).fill("What is the capital of Italy?");
  await page.keyboard.press("Enter");
  assert.equal(await answer(page), "The capital of Italy is Rome.");
  await page.reload();
  assert.equal(await answer(page), "The capital of Italy is Rome.");
});

test("history is there after a reload: found, renamed, deleted, brought back", async (t) => {
  const page = await visitor(t);
  for (const country of ["France", "Japan", "Norway"]) {
    await page.getByRole("button", { name: "New conversation" }).click();
    await ask(page, `What is the capital of ${country}?`);
    await answer(page);
  }
  await page.reload();
  assert.equal(await answer(page), "The capital of Norway is Oslo.");
  const names = page.locator("#list .name");
  assert.deepEqual(await names.allInnerTexts(), ["Norway", "Japan", "France"].map((c) => `What is the capital of ${c}?`));
  await names.nth(1).click();
  assert.equal(await answer(page), "The capital of Japan is Tokyo.");

  await page.keyboard.press("Control+k");
  await page.keyboard.type("paris");
  assert.equal(await names.count(), 1);
  assert.equal(await page.locator("#list mark").first().innerText(), "Paris");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#title").innerText(), "What is the capital of France?");
  await page.getByRole("searchbox").fill("nothing like it");
  await page.getByText("Nothing found.").waitFor();
  await page.getByRole("searchbox").fill("");

  await page.locator("#list li").last().hover();
  await page.getByRole("button", { name: "Rename What is the capital of France?" }).click();
  await page.keyboard.type("Where Paris is");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#title").innerText(), "Where Paris is");

  await page.locator("#list li").first().hover();
  await page.getByRole("button", { name: "Delete What is the capital of Norway?" }).click();
  assert.equal(await names.count(), 2);
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal(await names.count(), 3);
  await page.locator("#list li").first().hover();
  await page.getByRole("button", { name: "Delete What is the capital of Norway?" }).click();
  await page.reload();
  await eventually(async () => (await names.count()) === 2, "two are left");
  assert.deepEqual(await names.allInnerTexts(), ["What is the capital of Japan?", "Where Paris is"]);
});

test("a tab that closes in the middle of an answer leaves what there was", async (t) => {
  const page = await visitor(t);
  await askingFor(page, { ignore_eos: true, max_tokens: 3500 });
  await ask(page, "Tell me a story.");
  await grown(page, 400);
  await page.waitForTimeout(1200);
  await page.reload();
  await page.locator(".turn.answer").waitFor();
  assert.ok((await answer(page)).length > 50);
  assert.match(await page.locator(".turn.answer .stats").innerText(), /stopped/);
  await eventually(async () => (await (await fetch(server.url + "/slots")).json()).length === 0, "the server has stopped");
});

/** Another tab of the same visitor, at the same place. */
async function anotherTab(page, script) {
  const other = await page.context().newPage();
  if (script) await other.addInitScript(script);
  await other.goto(page.url());
  return other;
}

test("two tabs see each other's conversations, one of them writes", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  await answer(page);
  const other = await anotherTab(page);
  await other.getByText("The capital of France is Paris.").waitFor();

  await askingFor(page, { ignore_eos: true, max_tokens: 3500 });
  await ask(page, "Tell me a story.");
  await grown(other, 50); // as it is written
  await ask(other, "What is the capital of Japan?");
  await other.getByText("Another tab is writing an answer here").waitFor();
  assert.ok(await send(other).isDisabled());
  assert.equal(await other.getByRole("textbox", { name: "Message", exact: true }).inputValue(), "What is the capital of Japan?");
  const late = await anotherTab(page); // one that was not there when it began
  await eventually(() => send(late).evaluate((button) => button.title.includes("Another tab")), "a new tab knows");
  await late.close();
  await other.locator("#list li").first().hover();
  await other.getByRole("button", { name: "Rename" }).first().click();
  await other.keyboard.type("Named by another");
  await other.keyboard.press("Enter");
  await eventually(async () => (await page.locator("#title").innerText()) === "Named by another", "its name comes to who writes");
  await page.keyboard.press("Escape");
  await answer(page);
  await eventually(() => send(other).isEnabled(), "the other tab may write");
  await other.getByRole("textbox", { name: "Message", exact: true }).press("Enter");
  assert.equal(await answer(other), "The capital of Japan is Tokyo.");
  await eventually(async () => (await page.locator(".turn").count()) === 6, "both show all");
  await page.reload();
  await answer(page);
  assert.equal(await page.locator("#title").innerText(), "Named by another");
  assert.match(await page.locator("#thread").innerText(), /Paris[^]*story[^]*Tokyo/);
});

test("two tabs that ask at the same moment lose nothing", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  await answer(page);
  const deaf = "BroadcastChannel.prototype.postMessage = () => undefined;"; // neither hears of the other in time
  const [one, two] = [await anotherTab(page, deaf), await anotherTab(page, deaf)];
  await Promise.all([ask(one, "What is the capital of Japan?"), ask(two, "What is the capital of Norway?")]);
  const answers = await Promise.all([answer(one), answer(two)]);
  assert.deepEqual(answers, ["The capital of Japan is Tokyo.", "The capital of Norway is Oslo."]);
  await page.reload();
  await eventually(async () => (await page.locator("#list .name").count()) === 2, "two conversations");
  const texts = [];
  for (const name of await page.locator("#list .name").all()) {
    await name.click();
    texts.push(await page.locator("#thread").innerText());
  }
  assert.ok(texts.every((text) => text.includes("Paris")));
  assert.match(texts.join(), /Tokyo/);
  assert.match(texts.join(), /Oslo/);
});

test("what is being written stays when another tab asks or deletes", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  await answer(page);
  const other = await anotherTab(page);
  await other.getByText("The capital of France is Paris.").waitFor();
  await other.getByRole("textbox", { name: "Message", exact: true }).press("ArrowUp");
  const words = other.getByRole("textbox", { name: "The message's new words" });
  await words.fill("What is the capital of Italy?");
  await ask(page, "What is the capital of Japan?");
  await answer(page);
  await eventually(async () => !(await other.locator("#list li").getAttribute("class"))?.includes("going"), "it has ended");
  await other.waitForTimeout(300);
  assert.equal(await words.inputValue(), "What is the capital of Italy?");
  await words.press("Escape");
  await other.getByText("Tokyo").waitFor();
  await askingFor(page, { ignore_eos: true, max_tokens: 3500 });
  await ask(page, "Tell me a story.");
  await grown(page, 50);
  await other.locator("#list li").hover();
  await other.getByRole("button", { name: "Delete" }).click();
  await page.getByText("was deleted in another tab").waitFor();
  await page.waitForTimeout(1500);
  assert.equal(await other.locator("#list li").count(), 0, "it does not come back by itself");
  await other.getByRole("button", { name: "Undo" }).click();
  await page.locator("#list .name").waitFor();
});

test("a store that something else has made is mended, and thousands of conversations are no burden", async (t) => {
  const page = await visitor(t);
  await page.evaluate(async () => {
    await new Promise((resolve) => (indexedDB.deleteDatabase("1bit-chat").onsuccess = resolve));
    const request = indexedDB.open("1bit-chat", 3);
    request.onupgradeneeded = () => request.result.createObjectStore("something");
    await new Promise((resolve) => (request.onsuccess = resolve));
    request.result.close();
  });
  await page.reload();
  await ask(page, "What is the capital of France?");
  await answer(page);
  await page.evaluate(async () => {
    const request = indexedDB.open("1bit-chat");
    await new Promise((resolve) => (request.onsuccess = resolve));
    const objects = request.result.transaction("conversations", "readwrite").objectStore("conversations");
    for (let i = 0; i < 5000; ++i)
      objects.put({ id: `c${i}`, title: `Number ${i}`, created: i, updated: i, messages: [{ role: "user", content: `word${i}` }] });
    await new Promise((resolve) => (objects.transaction.oncomplete = resolve));
  });
  await page.reload();
  assert.equal(await answer(page), "The capital of France is Paris.");
  const rows = page.locator("#list li");
  assert.ok((await rows.count()) < 500);
  await page.getByRole("searchbox").fill("word7");
  await page.getByText("Number 7", { exact: true }).waitFor();
  await page.getByRole("searchbox").fill("");
  const first = await rows.count();
  await page.locator("#list").evaluate((list) => (list.scrollTop = list.scrollHeight));
  await eventually(async () => (await rows.count()) > first, "more come");
});

test("system prompt and sampling settings go to the server, and stay", async (t) => {
  const page = await visitor(t);
  const requests = [];
  page.on("request", (request) => {
    if (request.method() === "POST") requests.push(request.postDataJSON());
  });
  const set = async (fields) => {
    await page.getByRole("button", { name: "Settings of this conversation" }).click();
    for (const [name, value] of Object.entries(fields)) await page.locator(`#settings [name=${name}]`).fill(value);
    await page.getByRole("button", { name: "Save" }).click();
  };
  await set({ system: "Be short.", temperature: "1.5", top_p: "", top_k: "40", max_tokens: "12", seed: "7" });
  await ask(page, "Tell me a story.");
  const first = await answer(page);
  const { messages, temperature, top_p, top_k, max_tokens, seed, stream } = requests.at(-1);
  assert.deepEqual(messages[0], { role: "system", content: "Be short." });
  assert.deepEqual({ temperature, top_p, top_k, max_tokens, seed, stream }, { temperature: 1.5, top_p: undefined, top_k: 40, max_tokens: 12, seed: 7, stream: true });
  await page.getByRole("button", { name: "Answer again" }).click();
  await page.getByText("What came after is replaced.").waitFor();
  assert.equal(await answer(page), first, "the same seed, the same answer");
  await page.reload();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("button", { name: "Settings of this conversation" }).click();
  assert.equal(await page.locator("#settings [name=system]").inputValue(), "Be short.");
  assert.equal(await page.locator("#settings [name=top_k]").inputValue(), "40");
  await page.locator("#settings [name=top_p]").fill("3");
  await page.getByRole("button", { name: "Save" }).click();
  assert.ok(await page.locator("#settings").isVisible(), "a value that cannot be is not taken");
  await page.keyboard.press("Escape");
});

test("conversations leave as a file and come in again", async (t) => {
  const page = await visitor(t);
  await ask(page, "What is the capital of France?");
  await answer(page);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  const json = await fs.readFile(await download.path(), "utf8");
  const { format, version, conversations } = JSON.parse(json);
  assert.deepEqual([format, version, conversations.length], ["1bit-chat", 1, 1]);
  assert.equal(conversations[0].messages[1].content, "The capital of France is Paris.");

  const other = await visitor(t);
  const bring = (text) => other.locator("#file").setInputFiles({ name: "c.json", mimeType: "application/json", buffer: Buffer.from(text) });
  await bring(json);
  await other.locator("#list .name").click();
  assert.equal(await answer(other), "The capital of France is Paris.");
  await bring(json);
  await other.getByText("came in").waitFor();
  assert.equal(await other.locator("#list .name").count(), 1, "the same one again is nothing new");
  await other.locator("#list li").hover();
  await other.getByRole("button", { name: "Rename" }).click();
  await other.keyboard.type("Where Paris is");
  await other.keyboard.press("Enter");
  await bring(JSON.stringify({ format, version, conversations: [conversations[0], { ...conversations[0], id: "z" }] }));
  await other.getByText("0 conversations came in; 2 were here already.").waitFor();
  await other.reload();
  assert.deepEqual(await other.locator("#list .name").allInnerTexts(), ["Where Paris is"], "its name stays its own");
  for (const [text, words] of [
    ["{", "not JSON"],
    ["[1]", "no conversations"],
    [JSON.stringify({ format, version: 2, conversations }), "another version"],
  ]) {
    await bring(text);
    await other.getByText(words).waitFor();
  }
  await bring(JSON.stringify({ format, version, conversations: [null, 3, {}, { id: "x", messages: [{ role: "system", content: 1 }] }, { ...conversations[0], created: 1 }] }));
  await other.getByText("One conversation came in.").waitFor();
  await other.reload();
  await eventually(async () => (await other.locator("#list .name").count()) === 2, "what is none was left out");
});

test("what the server says no to is told, and tried again", async (t) => {
  const page = await visitor(t);
  await askingFor(page, { temperature: -1 });
  await ask(page, "What is the capital of France?");
  await page.locator(".fault").waitFor();
  assert.match(await page.locator(".fault").innerText(), /temperature/i);
  await page.unroute("**/v1/chat/completions");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("The capital of France is Paris.").waitFor();
  assert.equal(await page.locator(".fault").count(), 0);
});

test("a server that is gone is told, and found again without a reload", async (t) => {
  const page = await visitor(t);
  await page.getByText("ready").waitFor();
  await page.context().setOffline(true);
  await ask(page, "What is the capital of France?");
  await page.getByText("The server cannot be reached.").first().waitFor();
  await page.locator('#dot[data-state="unreachable"]').waitFor();
  assert.match(await page.locator("#model-state").innerText(), /not reachable/);
  await page.context().setOffline(false);
  await page.locator('#dot[data-state="ok"]').waitFor();
  await page.getByRole("button", { name: "Try again" }).click();
  assert.equal(await answer(page), "The capital of France is Paris.");
});

test("an answer that breaks off keeps what came", async (t) => {
  const page = await visitor(t);
  await page.route("**/v1/chat/completions", (route) =>
    route.fulfill({ status: 200, contentType: "text/event-stream", body: `data: ${JSON.stringify({ choices: [{ delta: { content: "Half of" } }] })}\n\n` }),
  );
  await ask(page, "Hello");
  await page.getByText("The answer broke off.").first().waitFor();
  assert.equal(await prose(page).innerText(), "Half of");
});

test("several models: one is chosen, and stays chosen", async (t) => {
  const two = await startServer(["--add-model", `other=${process.env.MODEL}`]);
  t.after(() => two.stop());
  const page = await visitor(t, {}, two.url);
  await page.getByRole("combobox", { name: "Model" }).selectOption("other");
  await page.getByText("unloaded").waitFor();
  await ask(page, "What is the capital of France?");
  assert.equal(await answer(page), "The capital of France is Paris.");
  await page.reload();
  assert.equal(await page.getByRole("combobox", { name: "Model" }).inputValue(), "other");
  await page.locator("article[aria-label=other]").waitFor();
});

test("Markdown is shown as such", async (t) => {
  const page = await visitor(t);
  await sayInstead(page, "# Title\n\nSome **bold**, `code` and a [link](https://example.org/a).\n\n- one\n- two\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```c++\nint x = 1 < 2;\n```\n");
  await ask(page, "Show me.");
  await page.locator(".prose table").waitFor();
  assert.equal(await page.locator(".prose h1").innerText(), "Title");
  assert.equal(await page.locator(".prose li").count(), 2);
  assert.equal((await page.locator(".prose pre").innerText()).trim(), "int x = 1 < 2;");
  assert.equal(await page.locator(".code-head span").innerText(), "c++");
  const link = page.locator(".prose a");
  assert.deepEqual([await link.getAttribute("href"), await link.getAttribute("target")], ["https://example.org/a", "_blank"]);
  assert.match(await link.getAttribute("rel"), /noopener noreferrer/);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy the code" }).click();
  assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim(), "int x = 1 < 2;");
});

test("the keyboard does it all, and axe-core finds nothing", async (t) => {
  for (const options of [{ colorScheme: "light" }, { colorScheme: "dark" }, phone, { ...phone, colorScheme: "dark" }]) {
    const page = await visitor(t, { reducedMotion: "reduce", ...options });
    const clean = async (where) => assert.deepEqual(await axeFinds(page), [], `${where} ${JSON.stringify(options)}`);
    await page.locator('#dot[data-state="ok"]').waitFor();
    await clean("empty");
    await sayInstead(page, "## Words\n\nA `word`, [a link](https://example.org) and\n\n> a quote\n\n```\ncode\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
    await ask(page, "Show me.");
    await answer(page);
    await page.unroute("**/v1/chat/completions");
    await clean("answer");
    await page.context().setOffline(true);
    await ask(page, "Again.");
    await page.locator(".fault").waitFor();
    await clean("error");
    await page.context().setOffline(false);
    await page.locator('#dot[data-state="ok"]').waitFor();
    await page.getByRole("button", { name: "Settings of this conversation" }).click();
    await clean("settings");
    await page.keyboard.press("Escape");
    await page.locator("#thread").focus();
    await page.keyboard.press("?");
    await clean("keyboard");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+k");
    assert.equal(await page.evaluate(() => document.activeElement.id), "search");
    await page.keyboard.type("word");
    await page.waitForTimeout(50);
    await clean("search");
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing is wider than the window");
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "nothing moves for those who want none");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+Shift+O");
    assert.equal(await page.locator(".welcome").count(), 1);
  }
});

test("light and dark are the system's until they are chosen", async (t) => {
  const page = await visitor(t, { colorScheme: "dark" });
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  assert.notEqual(light, dark);
  await page.locator("#theme").click();
  await page.locator("#theme").click();
  assert.equal(await background(), dark);
  await page.reload();
  assert.equal(await background(), dark);
  await page.locator("#theme").click();
  assert.equal(await background(), light);
});

test("on a phone the list is a drawer", async (t) => {
  const page = await visitor(t, phone);
  await ask(page, "What is the capital of France?");
  await answer(page);
  assert.ok(!(await page.locator("#side").isVisible()));
  await page.getByRole("button", { name: "Conversations" }).tap();
  await page.locator("#side").waitFor();
  await page.getByRole("button", { name: "New conversation" }).tap();
  await page.locator(".welcome").waitFor();
  await eventually(async () => !(await page.locator("#side").isVisible()), "the drawer closes");
});
