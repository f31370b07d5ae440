// Checks pages: accessibility, sizes, console messages and failed requests.
const assert = require("node:assert");
const axe = require("axe-core");

// The minimum size of a click target in CSS pixels, from success criterion 2.5.8 of WCAG 2.2.
const SMALLEST_TARGET = 24;

class Eyes {
  constructor() {
    this.looks = 0;
    this.seen = [];
  }

  watch(page) {
    page.on("pageerror", (error) => this.seen.push(`script: ${error.message}`));
    page.on("console", (message) => {
      // Ignore the status of the page, because each test checks it. The next handler checks the status of subresources.
      const isStatus = /^Failed to load resource: the server responded with a status of/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isStatus) this.seen.push(`console: ${message.text()}`);
    });
    page.on("response", (response) => {
      if (response.status() >= 400 && response.request().resourceType() !== "document") {
        this.seen.push(`${response.status()} ${response.url()}`);
      }
    });
    page.on("requestfailed", (request) => {
      // Ignore ERR_ABORTED, which downloads and abandoned page loads cause.
      if (request.failure().errorText !== "net::ERR_ABORTED") this.seen.push(`failed: ${request.url()}`);
    });
  }

  assertNothingSeen() {
    assert.deepEqual(this.seen, []);
  }

  // Checks the page in its current state.
  async look(page, scripts = true) {
    this.looks += 1;
    const url = page.url();
    const sizes = await page.evaluate((smallest) => {
      const visible = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 1;
      const targets = [...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")];
      const isInText = (element) => element.tagName === "A" && !element.matches("nav a, .button, .tag, .brand, .pills a, .qr a");
      const small = targets.filter((element) => {
        const { width, height } = element.getBoundingClientRect();
        return visible(element) && !isInText(element) && (width < smallest || height < smallest);
      });
      return {
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        small: small.map((element) => element.outerHTML.slice(0, 100)),
      };
    }, SMALLEST_TARGET);
    assert.ok(sizes.overflow <= 0, `${url} is ${sizes.overflow} px too wide`);
    assert.deepEqual(sizes.small, [], url);
    // axe needs timers, which don't run if scripts are disabled. It checks the same markup in the runs with scripts.
    if (!scripts) return;
    await page.evaluate(axe.source);
    const report = await page.evaluate(() => axe.run());
    const found = report.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
    assert.deepEqual(found, [], url);
  }
}

module.exports = { Eyes };
