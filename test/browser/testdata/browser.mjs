// What the scenarios share: Chromium with no way to the internet, pages that are watched, and pictures of them.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const patience = 30_000; // ms, for whatever a page is expected to show

// run gives a scenario what the test says on stdin, and a browser. A scenario that throws fails.
export async function run(scenario) {
  const given = JSON.parse(await text(process.stdin));
  const browser = await chromium.launch({
    executablePath: given.chromium,
    // Root has no sandbox; no name resolves, so what asks another host fails even if the watch missed it.
    args: ['--no-sandbox', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  try {
    await scenario({ ...given, browser });
  } finally {
    await browser.close();
  }
}

// open goes to a page and returns it. What it complains about, and whom it asks but its own server and those named, is
// collected in page.complaints.
export async function open(browser, base, path, ...others) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  page.complaints = [];
  const hosts = [base, ...others].map((known) => new URL(known).host);
  const watch = (url) => {
    const asked = new URL(url);
    if (!hosts.includes(asked.host) && !['data:', 'blob:'].includes(asked.protocol)) page.complaints.push(`asked ${url}`);
  };
  context.on('request', (request) => watch(request.url()));
  page.on('websocket', (socket) => watch(socket.url()));
  page.on('pageerror', (error) => page.complaints.push(`threw ${error}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.complaints.push(`said ${message.text()}`);
  });
  const answer = await page.goto(base + path);
  assert.equal(answer.status(), 200, `GET ${path}`);
  return page;
}

// picture takes the page, or a part of it, wide and narrow, light and dark, and fails when it is wider than the screen.
export async function picture(page, folder, name, part = null) {
  for (const [look, width, colorScheme] of [['light', 1280, 'light'], ['dark', 1280, 'dark'], ['narrow', 390, 'light'], ['narrow-dark', 390, 'dark']]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    const path = join(folder, `${name}-${look}.png`);
    await (part ? part.screenshot({ path }) : page.screenshot({ path, fullPage: true }));
    const needed = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(needed <= width, `${name} needs ${needed} px of ${width}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}

// usable fails when the page breaks a rule of WCAG 2.2 A or AA that axe can check.
export async function usable(page) {
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const { violations, passes } = await page.evaluate(() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
    assert.ok(passes.length > 10, `axe looked at ${passes.length} rules only`);
    assert.deepEqual(violations.map((v) => [v.id, ...v.nodes.map((n) => n.html)]), [], colorScheme);
  }
  await page.emulateMedia({ colorScheme: 'light' });
}
