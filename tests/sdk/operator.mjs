// What the scripts of an operator have in common: a browser that signs in, looks at a page with axe, and keeps its picture.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

export const WIDE = { width: 1280, height: 900 };
export const NARROW = { width: 390, height: 844 };

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Starts a browser for what the test has given: base, password, executable, sandbox, pictures. */
export const begin = async (given) => {
  mkdirSync(given.pictures, { recursive: true });
  const browser = await chromium.launch({
    executablePath: given.executable,
    args: given.sandbox ? [] : ["--no-sandbox"],
  });
  const found = { violations: [], console: [], overflowing: [], pages: [], steps: [] };

  const open = async (options) => {
    // axe is put into the page by the debugger; the pages' own policy would refuse it, as it should.
    const context = await browser.newContext({ ...options, bypassCSP: options.bypassCSP ?? false });
    const page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !message.text().includes("status of 4")) found.console.push(message.text());
    });
    page.on("pageerror", (error) => found.console.push(String(error)));
    return page;
  };

  const signIn = async (page) => {
    await page.goto(`${given.base}/dashboard`);
    await page.getByLabel("Password").fill(given.password);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/dashboard/requests");
  };

  const look = async (page, name) => {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }),
    );
    for (const { id, impact, nodes } of violations) {
      if (["serious", "critical"].includes(impact)) found.violations.push({ page: name, id, at: nodes.map((node) => node.html).slice(0, 3) });
    }
    if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) found.overflowing.push(name);
    await page.screenshot({ path: `${given.pictures}/${name}.png`, fullPage: true });
    found.pages.push(name);
  };

  /** A picture of where a flow has come to. */
  const keep = async (page, name) => {
    await page.screenshot({ path: `${given.pictures}/${name}.png` });
    found.steps.push(name);
  };

  return { browser, found, open, signIn, look, keep };
};
