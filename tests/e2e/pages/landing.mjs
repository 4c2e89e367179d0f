// Starts $LANDING, and stands between it and a server to count what it asks.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A 1bit-landing at `port` (0: any) that looks at `server` (a URL). */
export async function startLanding(server, flags = [], port = 0, env = {}) {
  const child = spawn(process.env.LANDING, ["--port", String(port), "--server", server, ...flags], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const landing = { child, log: "", exited: once(child, "exit") };
  child.stderr.setEncoding("utf8").on("data", (text) => (landing.log += text));
  while (!/ listening /.test(landing.log)) {
    if (child.exitCode !== null) throw new Error(`1bit-landing ended: ${landing.log}`);
    await sleep(5);
  }
  landing.port = Number(/listening host=\S+ port=(\d+)/.exec(landing.log)[1]);
  landing.url = `http://127.0.0.1:${landing.port}`;
  /** Most memory it ever had, in MB. */
  landing.peakMemory = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1024;
  landing.stop = async () => {
    child.kill("SIGTERM");
    return (await landing.exited)[0];
  };
  return landing;
}

/**
 * Passes requests on to the server at `port` and keeps each look at the metrics: when its answer went out, in seconds since
 * 1970, and tokps_recent in it. The port may be set anew; with `down`, connections are refused as if nobody listened.
 */
export async function startProxy(port) {
  const proxy = { target: port, scrapes: [] };
  const sockets = new Set();
  const handle = async (request, response) => {
    try {
      const answer = await fetch(`http://127.0.0.1:${proxy.target}${request.url}`);
      const text = await answer.text();
      const found = /^tokps_recent (\S+)$/m.exec(text);
      proxy.scrapes.push({ time: Date.now() / 1000, value: found === null ? null : Number(found[1]) });
      response.writeHead(answer.status, { "Content-Type": "text/plain" }).end(text);
    } catch {
      response.destroy();
    }
  };
  const server = http.createServer(handle);
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy.port = server.address().port;
  proxy.url = `http://127.0.0.1:${proxy.port}`;
  proxy.stop = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return proxy;
}

/** A server that tells what it is told to: `figures`, by their names with labels. */
export async function startFake() {
  const fake = { figures: {} };
  const text = () => Object.entries(fake.figures).map(([name, value]) => `${name} ${value}\n`).join("");
  const server = http.createServer((_, response) => response.setHeader("Connection", "close").end(text()));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  fake.url = `http://127.0.0.1:${server.address().port}`;
  fake.stop = () => server.close();
  return fake;
}

/** Raw viewers of /_live/stats, each with the number of events it got and the newest one. */
export async function watch(landing, count) {
  const viewers = Array.from({ length: count }, () => {
    const viewer = { events: 0, last: null };
    viewer.request = http.get(`${landing.url}/_live/stats`, { agent: false }, (response) => {
      let held = "";
      response.setEncoding("utf8").on("data", (text) => {
        held += text;
        for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
          const event = held.slice(0, end);
          if (!event.startsWith("data: ")) continue;
          viewer.events += 1;
          viewer.last = event;
        }
      });
      response.on("error", () => {});
    });
    viewer.request.on("error", (error) => (viewer.error = error));
    return viewer;
  });
  viewers.stop = () => viewers.forEach((viewer) => viewer.request.destroy());
  return viewers;
}
