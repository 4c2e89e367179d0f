// node chaos.mjs SECONDS SEED; the environment is that of ../chaos_test.sh.
import fs from "node:fs";
import * as bodies from "./bodies.mjs";
import { alive, assert, begin, canary, Chance, end, held, rest, servers, slowness, work } from "./common.mjs";
import * as disasters from "./disasters.mjs";
import { forms } from "./forms.mjs";
import * as network from "./network.mjs";
import { tenants } from "./tenants.mjs";

const [seconds, seed] = process.argv.slice(2).map(Number);
const chance = new Chance(seed);

async function part(name, run) {
  const begin = performance.now();
  const result = await run(new Chance(seed ^ name.length));
  console.log(`${name}: ${((performance.now() - begin) / 1000).toFixed(1)} s ${result === undefined ? "" : JSON.stringify(result)}`);
}

/** One server through all that a network can do, then back to what it held after a first round of it. */
async function hostile_network() {
  const times = { header: 1, body: 2, idle: 2 };
  const flags = ["--max-body", "200000", "--max-header", "4096", "--max-tokens", "400", "--kv-memory", "12", "--max-waiting", "64", "--write-time", "2", "--kv-folder", fs.mkdtempSync(`${work}/saved-`)];
  const server = await begin([...flags, ...Object.entries(times).flatMap(([name, value]) => [`--${name}-time`, String(value)])]);
  await network.random_visits(server, chance, 3 * slowness);
  await bodies.malformed(server);
  await forms(server, chance, 1); // compiled grammars are remembered, within a limit of their own
  const before = await rest(server);
  const seen = await canary(server);
  await part("smuggling", () => network.smuggling(server));
  await part("slow_loris", () => network.slow_loris(server, times));
  await part("visits", (chance) => network.random_visits(server, chance, seconds));
  await part("malformed", () => bodies.malformed(server));
  await part("fields", (chance) => bodies.fields(server, chance, Math.min(1, (seconds * 0.0015) / slowness)));
  await part("flipped", (chance) => bodies.flipped(server, chance, (seconds * 20) / slowness));
  await part("forms", (chance) => forms(server, chance, 1));
  await seen.stop();
  alive(server);
  const after = await rest(server);
  console.log("held", JSON.stringify({ before, after, canary: seen }));
  assert.ok(seen.longest < 3000 * slowness, "who asks beside all that waits");
  assert.ok(after.files <= before.files, "file descriptors");
  assert.ok(after.threads <= before.threads, "threads");
  assert.ok(after.anonymous <= before.anonymous + 16 * slowness, "memory");
  await end(server);
}

try {
  await hostile_network();
  await part("no_room", disasters.no_room);
  await part("full_disk", disasters.full_disk);
  await part("clock_jumps", disasters.clock_jumps);
  await part("ends", (chance) => disasters.ends_in_the_midst(chance, Math.ceil(seconds / 4)));
  await part("another_file", disasters.another_file);
  await part("tenants", tenants);
} catch (error) {
  console.error(error);
  const last = servers.at(-1);
  if (last) console.error(`the last server, ${JSON.stringify(last.child.exitCode ?? last.child.signalCode ?? held(last))}:\n${last.log.slice(-3000)}`);
  process.exitCode = 1;
} finally {
  for (const { child } of servers) child.kill("SIGKILL");
}
process.exit();
