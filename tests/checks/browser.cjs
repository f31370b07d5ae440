// Follows links in Chromium as a person does. See browser.sh.
const assert = require("node:assert");
const { spawn } = require("node:child_process");
const { createInterface } = require("node:readline");
const { createServer } = require("node:http");
const { chromium } = require("playwright-core");
const axe = require("axe-core");

async function startService() {
  const env = { PATH: process.env.PATH, HOST: "127.0.0.1", PORT: "0", STORE_URL: "memory:", RATE_LIMIT: "0" };
  const service = spawn("target/debug/urlshort", { env, stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: service.stdout })) {
    const { msg, address } = JSON.parse(line);
    if (msg === "listening") {
      service.stdout.resume();
      return { service, base: `http://${address}` };
    }
  }
  throw new Error("the service did not start");
}

async function shorten(base, fields) {
  const answer = await fetch(`${base}/shorten`, { method: "POST", body: new URLSearchParams(fields) });
  assert.equal(answer.status, 201);
  return (await answer.json()).short_url;
}

async function main() {
  const target = createServer((_, answer) => answer.end("<title>arrived</title>")).listen(0, "localhost");
  const { service, base } = await startService();
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
  });
  try {
    const page = await browser.newPage();
    const violations = [];
    page.on("console", (message) => {
      if (/Content Security Policy/.test(message.text())) violations.push(message.text());
    });
    const url = `http://localhost:${target.address().port}/`;
    const open = await shorten(base, { url, title: "Über <uns> & mehr" });
    const locked = await shorten(base, { url, password: "open sesame" });

    for (const [address, status, heading] of [
      [`${base}/`, 200, "urlshort"],
      [`${base}/nothing`, 404, "Not found"],
      [`${open}+`, 200, "Where this link leads"],
      [locked, 403, "Password needed"],
    ]) {
      const answer = await page.goto(address);
      assert.equal(answer.status(), status, address);
      assert.equal(await page.locator("h1").innerText(), heading);
      await page.evaluate(axe.source);
      const report = await page.evaluate(() => axe.run());
      assert.deepEqual(report.violations.map(({ id, help }) => `${id}: ${help}`), [], address);
    }

    await page.goto(open);
    assert.equal(await page.title(), "arrived");

    await page.goto(locked);
    await page.getByLabel("This short link asks for a password.").fill("wrong");
    await page.getByRole("button").click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("This short link asks for a password.").fill("open sesame");
    await page.getByRole("button").click();
    await page.waitForURL(url);
    assert.equal(await page.title(), "arrived");
    assert.deepEqual(violations, []);
  } finally {
    await browser.close();
    service.kill();
    target.close();
  }
}

main();
