// The program under test, and a website that its links lead to.
const assert = require("node:assert");
const { spawn } = require("node:child_process");
const { createInterface } = require("node:readline");
const { createServer } = require("node:http");
const { once } = require("node:events");

const WRITE = "0123456789abcdef-write";
const READ = "0123456789abcdef-read";

async function startService() {
  const env = {
    PATH: process.env.PATH,
    HOST: "127.0.0.1",
    PORT: "0",
    STORE_URL: "memory:",
    RATE_LIMIT: "0",
    FLUSH_INTERVAL: "50ms",
    API_TOKENS: `anna:${WRITE},viewer:${READ}:read`,
  };
  const program = spawn("target/debug/urlshort", { env, stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: program.stdout })) {
    const { msg, address } = JSON.parse(line);
    if (msg === "listening") {
      program.stdout.resume();
      return new Service(program, `http://${address}`);
    }
  }
  throw new Error("the service did not start");
}

class Service {
  constructor(program, base) {
    this.program = program;
    this.base = base;
  }

  async api(method, path, body) {
    const headers = { authorization: `Bearer ${WRITE}`, "content-type": "application/json" };
    const response = await fetch(`${this.base}/api/v1/links${path}`, { method, headers, body: body && JSON.stringify(body) });
    return response.status === 204 ? null : response.json();
  }

  // Creates a link and returns its short URL.
  async shorten(fields) {
    const { short_url: shortUrl, ...rest } = await this.api("POST", "", fields);
    assert.ok(shortUrl, JSON.stringify(rest));
    return shortUrl;
  }

  stop() {
    this.program.kill();
  }
}

// Another website: `/` is the target of links, and `/attack?to=URL` submits a form to URL.
async function startTarget() {
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const to = url.searchParams.get("to");
    response.setHeader("content-type", "text/html");
    if (!to) return response.end("<!doctype html><title>arrived</title><link rel=icon href=data:,>");
    response.end(`<!doctype html><link rel=icon href=data:,><form method=post action="${to}"><button>Go</button></form>`);
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  server.url = `http://localhost:${server.address().port}/`;
  return server;
}

module.exports = { startService, startTarget, WRITE, READ };
