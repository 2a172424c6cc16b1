// A contender that is a library: takes orders as lines of JSON, answers each with a line. A fresh context for each picture.
//
//   node peer.mjs puppeteer|playwright|cluster
import { createInterface } from "node:readline";

const { chromium, flags, width, height } = JSON.parse(process.env.BENCH);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const viewport = { width, height };

const puppeteerLaunch = { executablePath: chromium, args: flags, pipe: true, headless: chromium.endsWith("shell") ? "shell" : true };

async function shootWithPuppeteer(page, { url, kind }) {
  await page.setViewport(viewport);
  await page.goto(url, { waitUntil: "load" });
  if (kind === "pdf") return page.pdf({ printBackground: true, waitForFonts: false });
  return page.screenshot({ type: "png", optimizeForSpeed: true, fullPage: kind === "full" });
}

const kinds = {
  async puppeteer() {
    const { default: puppeteer } = await import("puppeteer-core");
    const browser = await puppeteer.launch(puppeteerLaunch);
    return async (order) => {
      const context = await browser.createBrowserContext();
      try {
        return await shootWithPuppeteer(await context.newPage(), order);
      } finally {
        await context.close();
      }
    };
  },
  async playwright() {
    const { chromium: playwright } = await import("playwright-core");
    const browser = await playwright.launch({ executablePath: chromium, args: flags });
    return async ({ url, kind }) => {
      const context = await browser.newContext({ viewport });
      try {
        const page = await context.newPage();
        await page.goto(url, { waitUntil: "load" });
        if (kind === "pdf") return await page.pdf({ printBackground: true });
        return await page.screenshot({ type: "png", fullPage: kind === "full" });
      } finally {
        await context.close();
      }
    };
  },
  async cluster() {
    const [{ default: puppeteer }, { Cluster }] = await Promise.all([import("puppeteer-core"), import("puppeteer-cluster")]);
    const cluster = await Cluster.launch({
      concurrency: Cluster.CONCURRENCY_CONTEXT,
      maxConcurrency: 4,
      puppeteer,
      puppeteerOptions: puppeteerLaunch,
    });
    await cluster.task(({ page, data }) => shootWithPuppeteer(page, data));
    return (order) => cluster.execute(order);
  },
};

const shoot = await kinds[process.argv[2]]();
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  shoot(order).then(
    (file) => say({ id: order.id, bytes: file.length }),
    (error) => say({ id: order.id, error: String(error) }),
  );
}
process.exit(0);
