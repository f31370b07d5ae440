// Pages outside the usual journey: hostile text, errors, previews, passwords, and another website.
const assert = require("node:assert");
const { READ, WRITE } = require("./service.cjs");

const HOSTILE = `</title><script>alert(1)</script>"'><img src=x onerror=alert(1)>`;

async function signIn({ base }, page, token) {
  await page.goto(`${base}/ui/sign-in`);
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Links" }).waitFor();
}

async function pages(place) {
  const { context, base, service, eyes, scripts, key } = place;
  const page = await context.newPage();
  page.on("dialog", () => assert.fail("hostile text was executed"));
  const url = `https://x.example/?q=${HOSTILE}`;
  await service.shorten({ url, key, title: HOSTILE, tags: [HOSTILE] });
  await service.shorten({ url, key: `${key}-later`, starts_at: "2090-01-01T00:00:00Z" });
  await service.shorten({ url: `https://x.example/${"long-".repeat(300)}`, key: "k".repeat(50) + key, title: "w".repeat(255) });

  for (const [path, status, heading] of [
    ["/nothing", 404, "Not found"],
    ["/no/such/path", 404, "Not found"],
    [`/${key}+`, 200, "Where this link leads"],
    ["/api/v1/links", 401, "API token required"],
    ["/ui/sign-out", 405, "Not possible here"],
    [`/?made=${key}`, 200, "Your short link is ready"],
  ]) {
    const response = await page.goto(base + path);
    assert.equal(response.status(), status, path);
    assert.equal(await page.locator("h1").innerText(), heading);
    await eyes.look(page, scripts);
  }

  await page.goto(`${base}/ui/sign-in`);
  await page.getByLabel("Token").fill("not a token at all");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();

  await signIn(place, page, WRITE);
  await page.goto(`${base}/ui/links?search=${key}`);
  assert.ok((await page.locator(".links").innerText()).includes(HOSTILE));
  await eyes.look(page, scripts);
  await page.goto(`${base}/ui/links/${key}`);
  assert.ok((await page.locator("main").innerText()).includes(HOSTILE));
  assert.equal(await page.getByLabel("Title").inputValue(), HOSTILE);
  await eyes.look(page, scripts);
  if (scripts) {
    await page.getByRole("link", { name: "QR code" }).click();
    await page.getByRole("dialog").getByText("Download PNG").waitFor();
    await eyes.look(page, scripts);
    await page.getByRole("button", { name: "Close" }).click();
  }
  await page.goto(`${base}/ui/links/${"k".repeat(50) + key}`);
  await eyes.look(page, scripts);
  await page.goto(`${base}/ui/links?search=nowhere-to-be-found`);
  await page.getByText("Nothing found.").waitFor();
  await eyes.look(page, scripts);
  await page.goto(`${base}/${key}-later`);
  await page.getByRole("link", { name: "Show the link with this key" }).click();
  await page.getByText("scheduled").waitFor();
  await blockedHosts(place, page);
  await page.getByRole("button", { name: /^Sign out/ }).click();

  await signIn(place, page, READ);
  await page.goto(`${base}/ui/links/${key}`);
  assert.equal(await page.locator("main form").count(), 0, "a read token must not see forms");
  await eyes.look(page, scripts);
  await page.goto(`${base}/ui/blocked-hosts`);
  assert.equal(await page.locator("main form").count(), 0, "a read token must not see forms");
  await eyes.look(page, scripts);
}

async function blockedHosts({ base, eyes, scripts, key }, page) {
  const host = `.${key}.example`;
  await page.goto(`${base}/ui/blocked-hosts`);
  await page.getByLabel("Host", { exact: true }).fill("https://evil.example/");
  await page.getByRole("button", { name: "Block", exact: true }).click();
  await page.getByRole("alert").waitFor();
  await eyes.look(page, scripts);
  await page.getByLabel("Host", { exact: true }).fill(host);
  await page.getByLabel("Reason").fill(HOSTILE);
  await page.getByRole("button", { name: "Block", exact: true }).click();
  await page.getByText(`Blocked ${host}.`).waitFor();
  await eyes.look(page, scripts);
  await page.getByRole("button", { name: `Unblock ${host}` }).click();
  await page.getByText(`Unblocked ${host}.`).waitFor();
}

async function password({ context, service, target, eyes, scripts, key }) {
  const page = await context.newPage();
  const locked = await service.shorten({ url: target.url, key, password: "open sesame" });
  await page.goto(locked);
  await eyes.look(page, scripts);
  await page.goto(`${locked}+`);
  await eyes.look(page, scripts);
  await page.getByRole("link", { name: locked }).click();
  await page.getByLabel("This short link is protected by a password.").fill("wrong");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("alert").waitFor();
  await eyes.look(page, scripts);
  await page.getByLabel("This short link is protected by a password.").fill("open sesame");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL(target.url);
  assert.equal(await page.title(), "arrived");
}

// A form on another website must change nothing, even though the browser has a session.
async function foreignForm(place) {
  const { context, base, service, target, key } = place;
  const page = await context.newPage();
  await service.shorten({ url: target.url, key });
  await signIn(place, page, WRITE);
  for (const path of [`/ui/links/${key}/take-down`, `/ui/links/${key}/delete`, "/ui/new", "/ui/sign-out"]) {
    await page.goto(`${target.url}attack?to=${encodeURIComponent(base + path)}`);
    const response = page.waitForResponse((received) => received.url() === base + path);
    await page.getByRole("button", { name: "Go" }).click();
    assert.equal((await response).status(), 403, path);
    await page.getByText("Another website sent this form").waitFor();
  }
  const { state, version } = await service.api("GET", `/${key}`);
  assert.deepEqual({ state, version }, { state: "active", version: 1 });
  const links = await page.goto(`${base}/ui/links`);
  assert.equal(new URL(links.url()).pathname, "/ui/links", "no longer signed in");
}

module.exports = { pages, password, foreignForm };
