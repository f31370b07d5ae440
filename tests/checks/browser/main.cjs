// Uses the pages in Chromium as a person would, with and without scripts, at three widths, and in light and dark mode.
const { chromium } = require("playwright-core");
const { startService, startTarget } = require("./service.cjs");
const { Eyes } = require("./eyes.cjs");
const { createWithTheKeyboard, firstVisit } = require("./home.cjs");
const { journey } = require("./journey.cjs");
const { pages, password, foreignForm } = require("./pages.cjs");

const WIDTHS = [320, 768, 1280];
const SCHEMES = ["light", "dark"];

// The service would recognise headless Chromium's default user agent as a bot, so use a different user agent.
const USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";

// Each step has its own timeout. This overall timeout ends the run if a page hangs anyway.
function withTimeout(steps) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, 120_000, new Error("timed out"))));
  return Promise.race([steps, late]).finally(() => clearTimeout(timer));
}

async function main() {
  const target = await startTarget();
  const service = await startService();
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
  });
  const world = { service, target, base: service.base };
  const eyes = new Eyes();
  let runs = 0;
  const run = async (options, steps) => {
    const { width = 1280, scheme = "light", scripts = true } = options;
    const context = await browser.newContext({
      viewport: { width, height: 900 },
      colorScheme: scheme,
      javaScriptEnabled: scripts,
      userAgent: USER_AGENT,
    });
    context.setDefaultTimeout(15_000);
    if (scripts) await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: service.base });
    context.on("page", (page) => eyes.watch(page));
    runs += 1;
    try {
      await withTimeout(steps({ ...world, context, eyes, scripts, width, key: `run-${runs}` }));
    } catch (error) {
      error.message = `${width} px, ${scheme}, scripts ${scripts ? "on" : "off"}: ${error.message}`;
      throw error;
    }
    await context.close();
    eyes.assertNothingSeen();
  };
  try {
    for (const scripts of [true, false]) {
      // The colour scheme matters only to axe, which needs scripts.
      for (const scheme of scripts ? SCHEMES : ["light"]) {
        for (const width of WIDTHS) {
          await run({ scripts, scheme, width }, journey);
          await run({ scripts, scheme, width }, pages);
        }
      }
      await run({ scripts }, password);
    }
    await run({}, foreignForm);
    let bytes, presses;
    await run({}, async (place) => (bytes = await firstVisit(place)));
    await run({}, async (place) => (presses = await createWithTheKeyboard(place)));
    console.log(`${eyes.looks} pages checked, no findings; first visit ${bytes} bytes; ${presses} key presses to a copied link`);
  } finally {
    await browser.close();
    service.stop();
    target.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
