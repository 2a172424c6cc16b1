// An operator before the dashboard, in a real browser: signs in, visits every page in light and dark, wide and narrow, and
// does what can be done there. Says what axe found, what the console said, and keeps a picture of each page and of each step.
import { readFileSync } from "node:fs";
import { NARROW, WIDE, begin } from "./operator.mjs";

const given = JSON.parse(readFileSync(0, "utf8"));
const { browser, found, open, signIn, look, keep } = await begin(given);

/** Whether a plot that is scrolled to its end shows what its bars mean, beside them and not over them. */
const scaleInSight = (plots) =>
  plots.map((plot) => {
    const frame = plot.getBoundingClientRect();
    const labels = [...plot.querySelectorAll(".scale text")].map((label) => label.getBoundingClientRect());
    const lines = [...plot.querySelectorAll("line.grid")].map((line) => line.getBoundingClientRect());
    const level = (label, line) => Math.abs((label.top + label.bottom) / 2 - line.top) < 3;
    return {
      scrolls: plot.scrollWidth > plot.clientWidth,
      shown: labels.length === 3 && labels.every((label) => label.width > 0 && label.left >= frame.left && label.right <= frame.right),
      level: labels.every((label, index) => level(label, lines[index])),
    };
  });
found.scales = [];

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
      if (name === "usage" && width === "narrow") found.scales.push(...(await page.locator(".plot").evaluateAll(scaleInSight)));
    }
    // The pages for everybody are long, and have little to be looked at.
    if ((width === "wide") === (colorScheme === "light")) {
      for (const [name, path] of Object.entries(given.public)) {
        await page.goto(`${given.base}${path}`);
        await look(page, named(name));
      }
    }
    await page.goto(`${given.base}/dashboard/access`);
    const secret = page.locator("form[action$=create]");
    await secret.getByLabel("What it is for").fill("to be looked at");
    await secret.getByRole("button", { name: "Create" }).click();
    await look(page, named("secret"));
    await page.context().close();
  }
}

// What is done there, with the pages' policy in force.
const page = await open({ viewport: WIDE });
await page.goto(`${given.base}/dashboard`);
await page.getByLabel("Password").fill("not the password");
await page.getByRole("button", { name: "Sign in" }).click();
found.wrongPassword = await page.getByRole("alert").innerText();
await keep(page, "did-wrong-password");
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
await keep(page, "did-filtered");

// By key, by time and by text, and back to all of them.
const rows = () => page.locator("#live tbody tr").count();
const searched = async (label, value) => {
  await page.goto(`${given.base}/dashboard/requests`);
  await (label === "Key" ? page.getByLabel(label).selectOption(value) : page.getByLabel(label, { exact: true }).fill(value));
  await page.getByRole("button", { name: "Filter" }).click();
  return rows();
};
found.byKey = await searched("Key", given.access_key);
found.byText = await searched("Target contains", "/status/404");
await keep(page, "did-search");
found.since = await searched("From (UTC)", "2099-01-01T00:00");
found.until = (await searched("Until (UTC)", "2099-01-01T00:00")) >= 4;
await page.getByRole("link", { name: "Clear" }).click();
found.cleared = [new URL(page.url()).search, (await rows()) >= 4];

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
await keep(page, "did-live");

// What somebody is in the middle of is left alone, and follows when they are done.
await page.locator("#live tbody a").first().focus();
const seen = await rows();
await fetch(`${given.base}/take`, {
  method: "POST",
  headers: { "content-type": "application/json", "x-access-key": given.access_key },
  body: JSON.stringify({ html: "<p>while you look", async: true }),
});
await page.waitForTimeout(9_000);
found.leftAlone = (await rows()) === seen;
await page.evaluate(() => document.activeElement.blur());
await page.waitForFunction((count) => document.querySelectorAll("#live tbody tr").length > count, seen, { timeout: 20_000 });

// A page that nobody looks at asks for nothing, and does again when it is looked at.
const asked = [];
page.on("request", (request) => request.headers()["x-snaphook-live"] && asked.push(request.url()));
const hide = (hidden) => page.evaluate((is) => Object.defineProperty(document, "hidden", { value: is, configurable: true }), hidden);
await hide(true);
// One may be on its way.
await page.waitForTimeout(1_000);
asked.length = 0;
await page.waitForTimeout(9_000);
found.unasked = asked.length;
await hide(false);
await page.waitForRequest((request) => request.headers()["x-snaphook-live"] === "1", { timeout: 20_000 });

// A failed request is retried.
await page.goto(`${given.base}${given.paths.failed}`);
await page.getByRole("button", { name: "Retry" }).click();
found.retried = await page.getByRole("status").innerText();
await keep(page, "did-retried");

// The same by keyboard alone; each stop on the way can be seen.
found.unseen = [];
const tabTo = async (name) => {
  for (let stops = 0; stops < 80; stops += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const [element, style] = [document.activeElement, getComputedStyle(document.activeElement)];
      const text = (element.labels?.[0] ?? element).innerText ?? "";
      return { text: text.trim(), outline: `${style.outlineStyle} ${style.outlineWidth}` };
    });
    if (stop.outline !== "solid 2px") found.unseen.push(stop);
    if (stop.text.startsWith(name)) return;
  }
  throw new Error(`no Tab leads to ${name}`);
};
await page.goto(`${given.base}${given.paths.failed}`);
await tabTo("Retry");
await keep(page, "did-tab-to-retry");
await page.keyboard.press("Enter");
found.retriedByKeyboard = await page.getByRole("status").innerText();

// One that is under way is cancelled.
const slow = await fetch(`${given.base}/take`, {
  method: "POST",
  headers: { "content-type": "application/json", "x-access-key": given.access_key },
  body: JSON.stringify({ url: given.never, timeout: 60, async: true }),
});
await page.goto(`${given.base}/dashboard/requests/${slow.headers.get("x-snaphook-request-id")}`);
await page.getByRole("button", { name: "Cancel" }).click();
found.cancelled = [await page.getByRole("status").innerText(), await page.locator("h1 .badge").innerText()];
await keep(page, "did-cancelled");

// A picture is downloaded.
await page.goto(`${given.base}${given.paths.request}`);
const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
found.downloaded = readFileSync(await download.path()).subarray(1, 4).toString("latin1");
await keep(page, "did-downloaded");

// A dead webhook is sent again.
await page.goto(`${given.base}${given.paths.delivery}`);
await page.getByRole("button", { name: "Replay" }).click();
found.replayed = await page.getByRole("status").innerText();
await keep(page, "did-replayed");

// And all that are dead.
await page.goto(`${given.base}/dashboard/deliveries?state=dead`);
await page.getByRole("button", { name: "Replay all dead" }).click();
found.replayedAll = await page.getByRole("status").innerText();
await keep(page, "did-replayed-all");

// A pair of a vendor's is brought, gets a new secret, and is for signed links only.
await page.goto(`${given.base}/dashboard/access`);
const bring = page.locator("form[action$=import]");
await bring.getByLabel("Access key").fill("brought-along");
await bring.getByLabel("Secret key").fill("its old secret");
await bring.getByRole("button", { name: "Import" }).click();
found.imported = await page.getByRole("status").innerText();
await keep(page, "did-imported");
await page.getByRole("link", { name: "brought-along" }).click();
await page.getByLabel("Accept signed links only").check();
await page.getByRole("button", { name: "Save", exact: true }).click();
found.signing = [await page.getByRole("status").innerText(), await page.getByLabel("Accept signed links only").isChecked()];
await keep(page, "did-signing");
await page.getByLabel("Hours that the old secret stays good").fill("3");
await page.getByRole("button", { name: "Rotate" }).click();
found.rotated = await page.locator(".secrets code").allInnerTexts();
await keep(page, "did-rotated");
await page.getByRole("link", { name: "I have kept it" }).click();
found.overlap = await page.locator("dt:text-is('Old secret good until') + dd time").count();
await keep(page, "did-overlap");

// Usage is looked at further back, and of one key.
await page.goto(`${given.base}/dashboard/usage`);
found.ranges = [];
for (const range of ["7 days", "30 days", "24 hours"]) {
  await page.getByRole("link", { name: range }).click();
  const chosen = await page.locator(".tabs a[aria-current]").innerText();
  found.ranges.push([chosen, await page.locator(".plot").count(), await page.locator(".plot rect.done").count() > 0]);
}
await page.locator("table .target").first().click();
found.ofOneKey = await page.getByRole("link", { name: "All keys" }).count();
await keep(page, "did-of-one-key");

// A key is made, limited and revoked.
await page.goto(`${given.base}/dashboard/access`);
const create = page.locator("form[action$=create]");
await create.getByLabel("What it is for").fill("made in a browser");
await create.getByLabel("Renders in a month").fill("100");
await create.getByRole("button", { name: "Create" }).click();
found.secretLength = (await page.locator(".secrets code").nth(1).innerText()).length;
await page.getByRole("link", { name: "I have kept it" }).click();
found.secretGone = (await page.locator(".secrets").count()) === 0;
await keep(page, "did-secret-gone");
await page.getByLabel("Renders at once").fill("2");
await page.getByRole("button", { name: "Save limits" }).click();
found.limited = await page.getByRole("status").innerText();
await keep(page, "did-limited");
await tabTo("End this key");
await page.keyboard.press("Space");
await tabTo("Revoke");
await keep(page, "did-tab-to-revoke");
await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
found.revoked = await page.locator("h1 .badge").innerText();
await keep(page, "did-revoked");

// A disabled address is enabled.
await page.goto(`${given.base}/dashboard/health`);
await page.getByRole("button", { name: "Enable" }).first().click();
found.enabled = await page.getByRole("status").innerText();
await keep(page, "did-enabled");

const post = (options) =>
  fetch(`${given.base}/take`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-access-key": given.access_key },
    body: JSON.stringify({ ...options, async: true }),
  });
const badgeIs = (state) =>
  page.waitForFunction((text) => document.querySelector("#live h1 .badge")?.innerText === text, state, { timeout: 30_000 });

// A request that is looked at shows by itself how far it is, and so does its webhook.
const followed = await post({ url: given.slow, webhook_url: given.receiver });
const followedId = followed.headers.get("x-snaphook-request-id");
await page.goto(`${given.base}/dashboard/requests/${followedId}`);
await page.evaluate(() => (window.sameDocument = true));
await badgeIs("done");
found.followed = [await page.evaluate(() => window.sameDocument), await page.getByRole("link", { name: "Download" }).count()];
await keep(page, "did-follow-a-request");

// Webhooks that arrive while their list is looked at, but for what is under a selected text.
await page.goto(`${given.base}/dashboard/deliveries`);
const deliveries = await rows();
await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#live tbody td")));
await post({ html: "<p>one more", webhook_url: given.receiver });
await page.waitForTimeout(9_000);
found.selectionLeftAlone = (await rows()) === deliveries;
await page.evaluate(() => getSelection().removeAllRanges());
await page.waitForFunction((count) => document.querySelectorAll("#live tbody tr").length > count, deliveries, { timeout: 20_000 });
await keep(page, "did-live-deliveries");

// By state and by address, and back to all of them.
await page.getByLabel("State").selectOption("dead");
await page.getByLabel("Address begins with").fill(given.receiver);
await page.getByRole("button", { name: "Filter" }).click();
found.deliveriesFiltered = [await page.locator("#live tbody .badge").allInnerTexts(), await page.locator("#live tbody .target").allInnerTexts()];
await keep(page, "did-filter-deliveries");
await page.getByLabel("Address begins with").fill("https://elsewhere.example/");
await page.getByRole("button", { name: "Filter" }).click();
found.noDelivery = await page.locator("#live .empty").innerText();
await page.getByRole("link", { name: "Clear" }).click();
found.deliveriesCleared = new URL(page.url()).search;

// More than a page of requests.
await Promise.all(Array.from({ length: 60 }, (_, number) => post({ html: `<p>${number}` })));
const listed = () => page.locator("#live tbody a[href*='/requests/req_']").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
await page.goto(`${given.base}/dashboard/requests`);
const newest = await listed();
await page.getByRole("link", { name: "Older" }).click();
const older = await listed();
await keep(page, "did-older");
await page.getByRole("link", { name: "Newest" }).click();
found.paged = [newest.length >= 50, older.length >= 10, older.some((link) => newest.includes(link)), (await rows()) === 50];

// A session that has ended leads to the form, and back to work.
await page.context().clearCookies();
await page.getByRole("link", { name: "Storage", exact: true }).click();
found.sessionEnded = new URL(page.url()).pathname;
await keep(page, "did-session-ended");
await signIn(page);

await page.getByRole("button", { name: "Sign out" }).click();
await page.goto(`${given.base}/dashboard/health`);
found.signedOut = new URL(page.url()).pathname;
await keep(page, "did-signed-out");

// Without scripts everything is there as well.
const plain = await open({ viewport: WIDE, javaScriptEnabled: false });
await signIn(plain);
found.rowsWithoutScript = await plain.locator("tbody tr").count();
await keep(plain, "did-rows-without-script");
await browser.close();
console.log(JSON.stringify(found));
