// An operator before the dashboard, in a real browser: signs in, visits every page in light and dark, wide and narrow, and
// does what can be done there. Says what axe found, what the console said, and keeps a picture of each page.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const given = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(given.pictures, { recursive: true });

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
const browser = await chromium.launch({
  executablePath: given.executable,
  args: given.sandbox ? [] : ["--no-sandbox"],
});
const found = { violations: [], console: [], overflowing: [], pages: [] };

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

// Every page, as it looks.
for (const colorScheme of ["light", "dark"]) {
  for (const [width, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
    const page = await open({ colorScheme, viewport, bypassCSP: true });
    const named = (name) => `${name}-${width}-${colorScheme}`;
    await page.goto(`${given.base}/dashboard/login`);
    await look(page, named("login"));
    await signIn(page);
    for (const [name, path] of Object.entries(given.paths)) {
      await page.goto(`${given.base}${path}`);
      await page.waitForLoadState("networkidle");
      await look(page, named(name));
    }
    await page.context().close();
  }
}

// What is done there, with the pages' policy in force.
const page = await open({ viewport: WIDE });
await page.goto(`${given.base}/dashboard`);
await page.getByLabel("Password").fill("not the password");
await page.getByRole("button", { name: "Sign in" }).click();
found.wrongPassword = await page.getByRole("alert").innerText();
await signIn(page);

// By keyboard: the first stop leads past the navigation, and what has the focus can be seen.
await page.keyboard.press("Tab");
found.skipLink = await page.evaluate(() => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return { text: document.activeElement.textContent, outline: `${outlineStyle} ${outlineWidth}` };
});
await page.getByLabel("State").selectOption("failed");
await page.getByRole("button", { name: "Filter" }).click();
found.filtered = await page.locator("tbody .badge").allInnerTexts();

// A list shows by itself what arrives while it is looked at.
await page.goto(`${given.base}/dashboard/requests`);
const before = await page.locator("tbody tr").count();
await fetch(`${given.base}/take`, {
  method: "POST",
  headers: { "content-type": "application/json", "x-access-key": given.access_key },
  body: JSON.stringify({ html: "<p>new", async: true }),
});
await page.waitForFunction((count) => document.querySelectorAll("tbody tr").length > count, before, { timeout: 20_000 });
found.live = true;

// A failed request is retried.
await page.goto(`${given.base}${given.paths.failed}`);
await page.getByRole("button", { name: "Retry" }).click();
found.retried = await page.getByRole("status").innerText();

// A dead webhook is sent again.
await page.goto(`${given.base}${given.paths.delivery}`);
await page.getByRole("button", { name: "Replay" }).click();
found.replayed = await page.getByRole("status").innerText();

// A key is made, limited and revoked.
await page.goto(`${given.base}/dashboard/access`);
const create = page.locator("form[action$=create]");
await create.getByLabel("What it is for").fill("made in a browser");
await create.getByLabel("Renders in a month").fill("100");
await create.getByRole("button", { name: "Create" }).click();
found.secretLength = (await page.locator(".secrets code").nth(1).innerText()).length;
await page.getByRole("link", { name: "I have kept it" }).click();
found.secretGone = (await page.locator(".secrets").count()) === 0;
await page.getByLabel("Renders at once").fill("2");
await page.getByRole("button", { name: "Save limits" }).click();
found.limited = await page.getByRole("status").innerText();
await page.getByLabel("End this key").check();
await page.getByRole("button", { name: "Revoke" }).click();
found.revoked = await page.locator("h1 .badge").innerText();

// A disabled address is enabled.
await page.goto(`${given.base}/dashboard/health`);
await page.getByRole("button", { name: "Enable" }).first().click();
found.enabled = await page.getByRole("status").innerText();

await page.getByRole("button", { name: "Sign out" }).click();
await page.goto(`${given.base}/dashboard/health`);
found.signedOut = new URL(page.url()).pathname;

// Without scripts everything is there as well.
const plain = await open({ viewport: WIDE, javaScriptEnabled: false });
await signIn(plain);
found.rowsWithoutScript = await plain.locator("tbody tr").count();
await browser.close();
console.log(JSON.stringify(found));
