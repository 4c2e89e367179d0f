// node live_pictures.mjs FOLDER [MINUTES]: pictures of the live page for its documentation, after so many minutes of a
// load that rises and falls. Needs what live_page_test.sh sets.
import fs from "node:fs";
import path from "node:path";
import { eventually, sleep, startServer } from "../server/harness.mjs";
import { startLanding } from "./landing.mjs";
import { hero, launch, look, state } from "./live_page.mjs";

const [folder, minutes = "4"] = process.argv.slice(2);
const line = (round) => `{"round":${round},"time":1,"prompt":"p","verdict":"exact","a_ms":1,"b_ms":1,"bytes":1,"prefix":1}\n`;
const file = (name) => path.join(process.env.WORK, name);
fs.writeFileSync(file("burnin.jsonl"), Array.from({ length: 12_000 }, (_, i) => line(i)).join(""));
fs.writeFileSync(file("numbers.html"), "<!doctype html><title>Numbers</title>");
const server = await startServer();
const landing = await startLanding(server.url, ["--burnin-log", file("burnin.jsonl"), "--records-page", file("numbers.html")]);
const browser = await launch();

let streams = 1;
let on = true;
/** Asks again and again while there are to be so many. */
async function asker(number) {
  for (let seed = number; on; seed += 8) {
    if (number >= streams) await sleep(200);
    else await server.json("/v1/completions", { prompt: "Once upon a time", max_tokens: 90, ignore_eos: true, seed }).catch(() => sleep(200));
  }
}
const askers = Array.from({ length: 8 }, (_, number) => asker(number));

const take = async (page, name, options = {}) => {
  await sleep(1500); // colours fade
  await page.screenshot({ path: path.join(folder, `live-${name}.png`), ...options });
};
const page = await look(browser, landing.url, { colorScheme: "dark" });
const phases = [1, 2, 4, 3, 2, 5, 8, 4, 6];
for (const phase of phases) {
  streams = phase;
  await sleep((Number(minutes) * 60_000) / phases.length);
}
await eventually(async () => (await hero(page)).value > 0, "there is a number");
await take(page, "dark");
await page.emulateMedia({ colorScheme: "light" });
await take(page, "light");
const phone = await look(browser, landing.url, { colorScheme: "dark", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
await take(phone, "phone", { fullPage: true });
on = false;
server.child.kill("SIGKILL");
await eventually(async () => (await state(page)) === "down", "red");
await eventually(async () => /reached/.test(await page.textContent("#alarm")), "nobody is there");
await take(page, "red");
await Promise.all(askers);
await browser.close();
await landing.stop();
