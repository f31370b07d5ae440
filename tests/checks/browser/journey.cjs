// The life of a link: create, copy, follow, count, edit with a conflict, take down, restore, delete, sign out.
const assert = require("node:assert");
const { WRITE } = require("./service.cjs");

async function journey(place) {
  const { context, base } = place;
  const page = await context.newPage();
  await create(place, page);
  await follow(place, page);
  await signIn(place, page);
  await count(place, page);
  await editWithConflict(place, page);
  await stop(place, page);
  await remove(place, page);
  await page.goto(`${base}/ui/links`);
  await page.getByRole("button", { name: /^Sign out/ }).click();
  await page.getByRole("heading", { name: "Shorten a link" }).waitFor();
  await page.goto(`${base}/ui/links`);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
}

async function create({ base, target, eyes, scripts, key }, page) {
  await page.goto(base);
  await eyes.look(page, scripts);
  await page.getByText("Options:").click();
  await eyes.look(page, scripts);
  await page.getByLabel("Long URL").fill("no address");
  await page.getByLabel("Custom key").fill("a b");
  await page.getByLabel("Visit limit").fill("0");
  await page.getByRole("button", { name: "Shorten" }).click();
  const summary = page.getByRole("alert");
  await summary.getByText("Please correct 3 things").waitFor();
  if (scripts) assert.ok(await summary.evaluate((element) => element === document.activeElement), "the summary does not have the focus");
  await eyes.look(page, scripts);
  await summary.getByRole("link", { name: "Custom key" }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), "key");
  await page.getByLabel("Long URL").fill(`${target.url}?a=<b>&c="d"`);
  await page.getByLabel("Custom key").fill(key);
  await page.getByLabel("Visit limit").fill("");
  await page.getByLabel("Title").fill("Spring <sale>");
  await page.getByLabel("Tags").fill("print, spring & sale");
  await page.getByLabel("Expires after").selectOption("30 days");
  await page.getByRole("button", { name: "Shorten" }).click();
  await page.getByRole("heading", { name: "Your short link is ready" }).waitFor();
  assert.equal(page.url(), `${base}/?made=${key}`);
  await eyes.look(page, scripts);
  const copy = page.getByRole("button", { name: "Copy" });
  assert.equal(await copy.isVisible(), scripts, "the copy button must be visible only with scripts");
  if (scripts) {
    await copy.click();
    await page.getByRole("status").getByText("Copied").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${base}/${key}`);
  }
}

async function follow({ base, key }, page) {
  await page.goto(`${base}/${key}`);
  assert.equal(await page.title(), "arrived");
}

async function signIn({ base, eyes, scripts, key }, page) {
  await page.goto(`${base}/ui/links/${key}`);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await eyes.look(page, scripts);
  await page.getByLabel("Token").fill(WRITE);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${base}/ui/links/${key}`);
}

// Waits for the click to be counted, because the service writes clicks a moment after the visit.
async function count({ base, eyes, scripts, key }, page) {
  const deadline = Date.now() + 10_000;
  while ((await page.locator(".numbers dd").first().innerText()) !== "1") {
    assert.ok(Date.now() < deadline, "the visit is not counted");
    await page.reload();
  }
  await eyes.look(page, scripts);
  await page.getByText("Show as a table").click();
  await eyes.look(page, scripts);
  const row = page.getByRole("region", { name: "Visits per day" }).getByRole("row").nth(1);
  assert.match(await row.innerText(), /1\s+0$/);
  const days = page.getByRole("navigation", { name: "Range of days" });
  await days.getByRole("link", { name: "7 days" }).click();
  await page.getByRole("heading", { name: "Last 7 days" }).waitFor();
  await page.goto(`${base}/ui/links?search=${key}`);
  await page.getByRole("link", { name: key }).waitFor();
  await eyes.look(page, scripts);
  await page.getByRole("link", { name: key }).click();
}

async function editWithConflict({ base, context, eyes, scripts, key }, page) {
  const other = await context.newPage();
  await other.goto(`${base}/ui/links/${key}`);
  await page.getByLabel("Title").fill("Mine");
  await other.getByLabel("Title").fill("Theirs");
  await other.getByRole("button", { name: "Save" }).click();
  await other.getByText("Saved.").waitFor();
  await eyes.look(other, scripts);
  await other.close();
  await page.getByRole("button", { name: "Save" }).click();
  const conflict = page.getByRole("alert");
  await conflict.getByRole("row", { name: "Title Theirs Mine" }).waitFor();
  if (scripts) assert.ok(await conflict.evaluate((element) => element === document.activeElement));
  assert.equal(await page.getByLabel("Title").inputValue(), "Mine");
  await eyes.look(page, scripts);
  await page.getByLabel("Long URL").fill("no address");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alert").getByText("Enter a web address").waitFor();
  await eyes.look(page, scripts);
  await page.goto(`${base}/ui/links/${key}`);
  assert.equal(await page.getByLabel("Title").inputValue(), "Theirs");
}

async function stop({ base, eyes, scripts, key }, page) {
  await page.getByRole("button", { name: "Take down" }).click();
  if (scripts) {
    const dialog = page.getByRole("dialog");
    await eyes.look(page, scripts);
    await page.keyboard.press("Escape");
    assert.ok(!(await dialog.isVisible()));
    await page.getByRole("button", { name: "Take down" }).click();
    await dialog.getByRole("button", { name: "Take down" }).click();
  }
  await page.getByText("Taken down.").waitFor();
  await eyes.look(page, scripts);
  const gone = await page.goto(`${base}/${key}`);
  assert.equal(gone.status(), 410);
  await eyes.look(page, scripts);
  await page.goto(`${base}/ui/links/${key}`);
  await page.getByRole("button", { name: "Restore" }).click();
  await page.getByText("Restored.").waitFor();
  await page.goto(`${base}/${key}`);
  assert.equal(await page.title(), "arrived");
}

async function remove({ base, eyes, scripts, key }, page) {
  await page.goto(`${base}/ui/links/${key}`);
  await page.getByRole("link", { name: "Delete…" }).click();
  await page.getByRole("heading", { name: `Delete ${key}?` }).waitFor();
  await eyes.look(page, scripts);
  await page.getByRole("button", { name: "Delete permanently" }).click();
  await page.getByText(`Deleted ${key}.`).waitFor();
  const missing = await page.goto(`${base}/${key}`);
  assert.equal(missing.status(), 404);
  await eyes.look(page, scripts);
  await page.getByRole("link", { name: `Create the link “${key}”` }).click();
  assert.equal(await page.getByLabel("Custom key").inputValue(), key);
}

module.exports = { journey };
