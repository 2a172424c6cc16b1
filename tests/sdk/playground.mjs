// An operator in the playground, in a real browser: fills the form, sees the picture, is told what is wrong beside its field,
// and reads the code of the request. Once more without scripts. Pictures are kept of a form that is filled in and of one that
// is wrong.
import { readFileSync } from "node:fs";
import { NARROW, WIDE, begin } from "./operator.mjs";

const given = JSON.parse(readFileSync(0, "utf8"));
const { browser, found, open, signIn, look, keep } = await begin(given);
const address = `${given.base}/dashboard/playground`;

const picture = (page) => page.locator("#result img");
const rendered = async (page) => {
  await picture(page).waitFor({ timeout: 60_000 });
  await page.waitForFunction(() => {
    const image = document.querySelector("#result img");
    return image?.complete && image.naturalWidth > 0 && !document.querySelector("#result[aria-busy]");
  });
  return picture(page).evaluate((image) => [image.naturalWidth, image.naturalHeight]);
};
const openGroup = async (page, title) => {
  const group = page.locator("details.group", { has: page.locator("summary", { hasText: title }) });
  if ((await group.getAttribute("open")) === null) await group.locator("summary").click();
};
const code = (page) => page.locator("#code pre:visible").innerText();

// As it looks, filled in and wrong.
for (const colorScheme of ["light", "dark"]) {
  for (const [width, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
    const page = await open({ colorScheme, viewport, bypassCSP: true });
    const named = (name) => `playground-${name}-${width}-${colorScheme}`;
    await signIn(page);
    await page.goto(address);
    await page.getByLabel("URL", { exact: true }).fill(given.page);
    await openGroup(page, "Viewport");
    await page.getByLabel("viewport_width", { exact: true }).fill("900");
    await page.getByLabel("viewport_height", { exact: true }).fill("600");
    await page.getByRole("button", { name: "Render" }).click();
    await rendered(page);
    await look(page, named("done"));
    await page.getByLabel("viewport_width", { exact: true }).fill("99999");
    await page.getByLabel("URL", { exact: true }).fill("ftp://example.com");
    await page.getByRole("button", { name: "Render" }).click();
    await page.locator("#wrong-viewport_width:visible").waitFor();
    await look(page, named("wrong"));
    await page.context().close();
  }
}

// With the page's own policy in force.
const page = await open({ viewport: WIDE });
await signIn(page);
await page.getByRole("link", { name: "Playground" }).click();

// The code follows the form.
await page.getByLabel("URL", { exact: true }).fill(given.page);
await openGroup(page, "Result");
await page.getByLabel("format", { exact: true }).selectOption("png");
await openGroup(page, "Changes to the page");
await page.getByLabel("styles", { exact: true }).fill("body { content: '$HOME \\ `id`' }");
await page.waitForFunction(() => document.querySelector("#code pre").textContent.includes("$HOME"));
found.curl = await code(page);
found.tabs = {};
for (const tab of ["JavaScript", "PHP", "Signed link"]) {
  await page.getByText(tab, { exact: true }).click();
  found.tabs[tab] = await code(page);
}
await keep(page, "playground-link");
await page.getByText("Python", { exact: true }).click();
found.python = await code(page);
await keep(page, "playground-python");

// By keyboard alone: what is rendered comes without leaving the page.
await page.getByLabel("URL", { exact: true }).focus();
await page.keyboard.press("Enter");
await openGroup(page, "Viewport");
found.size = await rendered(page);
found.stayed = new URL(page.url()).pathname;
found.languageKept = (await code(page)).includes("urllib");
found.request = await page.getByRole("link", { name: "Its request" }).getAttribute("href");

// Each error beside its field, and gone when it is mended.
await page.getByLabel("viewport_width", { exact: true }).fill("99999");
await page.getByLabel("URL", { exact: true }).fill("ftp://example.com");
await page.getByRole("button", { name: "Render" }).click();
await page.locator("#wrong-viewport_width:visible").waitFor();
found.wrong = [await page.locator("#wrong-viewport_width").innerText(), await page.locator("#wrong-url").innerText()];
found.described = await page
  .getByLabel("viewport_width", { exact: true })
  .evaluate((input) => [input.getAttribute("aria-invalid"), input.getAttribute("aria-describedby").includes("wrong-viewport_width")]);
found.focused = await page.evaluate(() => document.activeElement.id);
await page.getByLabel("viewport_width", { exact: true }).fill("640");
await page.getByLabel("URL", { exact: true }).fill(given.page);
await page.waitForFunction(() => !document.querySelector(".error:not([hidden])"));
found.set = await page.locator("#set-viewport").innerText();

// After each change, for whoever wants that.
const before = await page.evaluate(() => document.querySelector("#result img")?.getAttribute("src") ?? null);
await page.getByLabel("as I type", { exact: true }).check();
await page.getByLabel("viewport_height", { exact: true }).fill("333");
await page.waitForFunction((src) => {
  const image = document.querySelector("#result img");
  return image && image.getAttribute("src") !== src && image.naturalHeight === 333;
}, before);
found.live = await rendered(page);
await page.getByLabel("as I type", { exact: true }).uncheck();

// A failure of the page leads to its explanation.
await page.getByLabel("URL", { exact: true }).fill(given.missing);
await page.getByRole("button", { name: "Render" }).click();
await page.locator("#result .failed").waitFor({ timeout: 30_000 });
found.failed = await page.locator("#result .failed").innerText();
await keep(page, "playground-failed");
found.explained = await page.getByRole("link", { name: "What it means" }).getAttribute("href");

// Another endpoint has another form, and what both know is kept.
await page.getByLabel("URL", { exact: true }).fill(given.page);
await page.getByLabel("Endpoint", { exact: true }).selectOption("/v1/scrape");
await page.waitForFunction(() => document.getElementById("options").dataset.endpoint === "/v1/scrape");
found.kept = await page.getByLabel("viewport_height", { exact: true }).inputValue();
await page.getByRole("button", { name: "Render" }).click();
await page.locator("#result pre.content").waitFor({ timeout: 30_000 });
await keep(page, "playground-text");
found.text = (await page.locator("#result pre.content").innerText()).slice(0, 2000);

// Looking for a parameter leaves what fits.
await page.getByLabel("Find a parameter", { exact: true }).fill("user agent header");
await keep(page, "playground-found");
found.fitting = await page.locator(".field:visible > label").allInnerTexts();
await page.getByLabel("Find a parameter", { exact: true }).fill("");

// Without scripts: the same form, sent.
const plain = await open({ viewport: WIDE, javaScriptEnabled: false });
await signIn(plain);
await plain.goto(`${address}?endpoint=/take&format=png&viewport_width=320&viewport_height=200&full_page_scroll=true`);
await plain.getByLabel("URL", { exact: true }).fill(given.page);
await plain.getByRole("button", { name: "Render" }).click();
await plain.locator("#wrong-full_page_scroll:visible").waitFor();
found.plainWrong = await plain.locator("#wrong-full_page_scroll").innerText();
await plain.getByLabel("full_page_scroll", { exact: true }).selectOption("");
await plain.getByRole("button", { name: "Render" }).click();
await picture(plain).waitFor({ timeout: 60_000 });
found.plainSize = await picture(plain).evaluate((image) => [image.getAttribute("width"), image.getAttribute("height")]);
await plain.getByText("Go", { exact: true }).click();
await plain.getByRole("button", { name: "Update the code only" }).click();
found.plainGo = await code(plain);
await keep(plain, "playground-without-script");

await browser.close();
console.log(JSON.stringify(found));
