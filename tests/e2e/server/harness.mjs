// Starts and stops the server under test: $SERVER and $HALO are the programs, $MODEL the model.
import { spawn, execFileSync } from "node:child_process";
import { once } from "node:events";
import net from "node:net";

export const model = process.env.MODEL;

/** Starts a server with further flags; resolves once it is ready (or listening, with ready: false). */
export async function startServer(flags = [], { ready = true, env = {}, file_blocks = 0 } = {}) {
  const own = flags.includes("-m") ? [] : ["-m", model];
  const words = [process.env.SERVER, ...own, "--port", "0", ...flags];
  if (file_blocks > 0) words.unshift("sh", "-c", `ulimit -f ${file_blocks}; exec "$@"`, "sh"); // no file is longer
  const child = spawn(words[0], words.slice(1), {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const server = { child, log: "", exited: once(child, "exit") };
  server.stop = async () => {
    child.kill("SIGTERM");
    return (await server.exited)[0];
  };
  child.stderr.setEncoding("utf8").on("data", (text) => (server.log += text));
  const wanted = ready ? / ready model=/ : / listening /;
  while (!wanted.test(server.log)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended: ${server.log}`);
    await sleep(5);
  }
  server.port = Number(/listening host=\S+ port=(\d+)/.exec(server.log)[1]);
  server.url = `http://127.0.0.1:${server.port}`;
  server.post = (path, body, options = {}) =>
    fetch(server.url + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...options,
      headers: { "Content-Type": "application/json", ...options.headers },
    });
  server.json = async (path, body) => (await server.post(path, body)).json();
  /** The value of a metric without labels. */
  server.metric = async (name) => {
    const page = await (await fetch(server.url + "/metrics")).text();
    return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(page)[1]);
  };
  return server;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until check() is true; fails after some seconds. */
export async function eventually(check, what, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(20);
  }
}

/** Events of a stream: parsed data lines, comments as strings, "[DONE]". */
export async function* events(response) {
  let held = "";
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    held += bytes;
    for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
      const event = held.slice(0, end);
      if (event.startsWith(":") || event === "data: [DONE]") yield event;
      else yield JSON.parse(event.slice("data: ".length));
    }
  }
}

/** Writes bytes to the server as they are; resolves to all it answers until it closes or `enough` matches. */
export async function raw(port, bytes, enough = /$^/) {
  const socket = net.connect(port, "127.0.0.1");
  let answer = "";
  socket.setEncoding("latin1").on("data", (text) => {
    answer += text;
    if (enough.test(answer)) socket.destroy();
  });
  socket.on("error", () => {});
  socket.write(bytes);
  await new Promise((resolve) => socket.on("close", resolve)); // after an error too
  return answer;
}

export const halo = (...args) => execFileSync(process.env.HALO, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
