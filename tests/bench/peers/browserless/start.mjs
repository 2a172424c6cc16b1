// Starts browserless's own HTTP server on PORT with the Chromium of $BENCH in the place of the one it would download.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const here = import.meta.dirname;
const modules = join(here, "node_modules");
const its = join(modules, "@browserless.io/browserless");
const scratch = mkdtempSync(join(tmpdir(), "snaphook-bench-"));

// It looks for what it needs below itself, where npm puts nothing when it is not the root.
mkdirSync(join(its, "node_modules"), { recursive: true });
for (const name of readdirSync(modules)) {
  const link = join(its, "node_modules", name);
  if (!existsSync(link)) symlinkSync(join(modules, name), link);
}

// It starts only if there is a browser for each of its routes, so it gets the routes of Chromium.
const routes = join(scratch, "routes");
mkdirSync(routes);
symlinkSync(join(its, "build/routes/chromium"), join(routes, "chromium"));
process.env.ROUTES = routes;
process.env.PLAYWRIGHT_BROWSERS_PATH = join(scratch, "browsers");

const { chromium: playwright } = await import("playwright-core");
const expected = playwright.executablePath();
mkdirSync(dirname(expected), { recursive: true });
writeFileSync(expected, `#!/bin/sh\nexec ${JSON.parse(process.env.BENCH).chromium} "$@"\n`);
chmodSync(expected, 0o755);

process.chdir(its);
const { Browserless } = await import("@browserless.io/browserless");
await new Browserless().start();
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
process.on("SIGTERM", () => process.exit(0));
