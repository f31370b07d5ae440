// Measurements of the home page: the bytes transferred, and the key presses needed to copy a short link.
const assert = require("node:assert");

// Returns the number of bytes that a first visit transfers.
async function firstVisit({ context, base }) {
  const page = await context.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(request));
  await page.goto(base, { waitUntil: "networkidle" });
  let bytes = 0;
  for (const request of requests) {
    assert.ok(request.url().startsWith(base), `request to another host: ${request.url()}`);
    const { responseHeadersSize, responseBodySize } = await request.sizes();
    bytes += responseHeadersSize + responseBodySize;
  }
  assert.ok(requests.length >= 4, "style, script and icon are not counted");
  assert.ok(bytes < 20_000, `a first visit transfers ${bytes} bytes`);
  return bytes;
}

// Returns the number of key presses needed to create and copy a short link on the open page. A shortcut such as Ctrl+V
// counts as one.
async function createWithTheKeyboard({ context, base, target }) {
  const page = await context.newPage();
  await page.goto(base);
  await page.evaluate((text) => navigator.clipboard.writeText(text), target.url);
  let presses = 0;
  const press = async (keys) => {
    presses += 1;
    await page.keyboard.press(keys);
  };
  await press("Control+V");
  assert.equal(await page.getByLabel("Long URL").inputValue(), target.url);
  await press("Enter");
  await page.getByRole("heading", { name: "Your short link is ready" }).waitFor();
  await press("Enter");
  await page.getByText("Copied").waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, await page.locator(".short").innerText());
  await page.goto(copied);
  assert.equal(await page.title(), "arrived");
  return presses;
}

module.exports = { firstVisit, createWithTheKeyboard };
