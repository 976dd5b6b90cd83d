// The page of the REST interface: it authorizes, calls, and shows what is answered.
import assert from 'node:assert/strict';
import { open, picture, run } from './browser.mjs';

await run(async ({ browser, base, key, user, token, shots }) => {
  for (const prefix of ['', '/v1']) {
    const page = await open(browser, base, `${prefix}/docs`);
    await page.locator('.opblock').first().waitFor();
    if (prefix === '') await picture(page, shots, 'rest');

    const specification = await (await page.request.get(`${base}${prefix}/openapi.json`)).json();
    await wantEveryOperation(page, specification);
    await wantWebhooksToBeRead(page, shots, prefix);

    await authorize(page, { apiKey: key, userId: user });
    const calls = [];
    page.on('request', (request) => calls.push(request));
    await execute(page, 'listRooms', 200, (rooms) => assert.ok(Array.isArray(rooms), 'rooms are a list'));
    await execute(page, 'createRoom', 201, (room) => assert.match(room.room_id, /^room_/));
    if (prefix === '') await picture(page, shots, 'rest-called', page.locator('.opblock[id$="-createRoom"] .live-responses-table'));
    for (const call of calls.filter((c) => new URL(c.url()).pathname.endsWith('/rooms'))) {
      assert.equal(new URL(call.url()).pathname, `${prefix}/rooms`, 'calls stay in the version of the page');
      const headers = await call.allHeaders();
      assert.deepEqual([headers['x-api-key'], headers['x-user-id'], headers.authorization], [key, user, undefined]);
    }

    await unauthorize(page, ['apiKey', 'userId']);
    await authorize(page, { bearer: token });
    await execute(page, 'listRooms', 200, (rooms) => assert.deepEqual(rooms, [], 'another tenant, without rooms'));
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }
});

// wantEveryOperation fails when the page leaves out an operation of the document, be it one that the server answers or
// one that it makes itself.
async function wantEveryOperation(page, specification) {
  const methods = ['get', 'put', 'post', 'patch', 'delete'];
  const operations = (items) => Object.entries(items).flatMap(([path, item]) =>
    methods.filter((m) => item[m]).map((m) => `${m.toUpperCase()} ${path}`));
  const calls = operations(specification.webhooks);
  assert.ok(calls.length > 0, 'no webhooks');
  const wanted = [...operations(specification.paths), ...calls];
  const shown = await page.locator('.opblock-summary').evaluateAll((rows) => rows.map((row) =>
    `${row.querySelector('.opblock-summary-method').textContent} ${row.querySelector('.opblock-summary-path').dataset.path}`));
  assert.ok(wanted.length > 20, `${wanted.length} operations`);
  assert.deepEqual(shown.toSorted(), wanted.toSorted());
}

// wantWebhooksToBeRead fails when the page offers to make the calls that the server makes, or does not show what is sent.
async function wantWebhooksToBeRead(page, shots, prefix) {
  const block = page.locator('.opblock[id$="-onMessageOffline"]');
  await block.locator('.opblock-summary-control').click();
  await block.getByText('webhook-signature').first().waitFor();
  assert.match(await block.locator('.opblock-section-request-body').innerText(), /"recipient_ids"/, 'the body of the call');
  assert.equal(await block.locator('.execute, .try-out').count(), 0, 'a call to somebody else cannot be tried');
  if (prefix === '') await picture(page, shots, 'rest-webhook', block);
  await block.locator('.opblock-summary-control').click();
}

// card is the part of the dialog for one scheme. The dialog is open afterwards.
async function card(page, scheme) {
  const dialog = page.locator('.modal-ux');
  if (!(await dialog.isVisible())) await page.locator('.auth-wrapper .btn.authorize').click();
  return dialog.locator('.auth-container').filter({ has: page.locator('h4 code', { hasText: new RegExp(`^${scheme}$`) }) });
}

async function authorize(page, values) {
  for (const [scheme, value] of Object.entries(values)) {
    const part = await card(page, scheme);
    await part.locator('input').fill(value);
    await part.getByRole('button', { name: 'Apply credentials' }).click();
    await part.getByRole('button', { name: 'Remove authorization' }).waitFor();
  }
  await page.locator('.close-modal').click();
}

async function unauthorize(page, schemes) {
  for (const scheme of schemes) {
    const part = await card(page, scheme);
    await part.getByRole('button', { name: 'Remove authorization' }).click();
  }
  await page.locator('.close-modal').click();
}

// execute calls an operation with what the page proposes, and checks the status and the body that the page shows.
async function execute(page, operation, status, check) {
  const block = page.locator(`.opblock[id$="-${operation}"]`);
  if (!(await block.locator('.execute').isVisible())) await block.locator('.opblock-summary-control').click();
  const cleared = block.locator('.btn-clear');
  if (await cleared.isVisible()) await cleared.click();
  await block.locator('.execute').click();
  const answer = block.locator('.live-responses-table .response').first();
  await answer.waitFor();
  assert.equal((await answer.locator('.response-col_status').innerText()).trim().split(/\s/)[0], String(status), operation);
  check(JSON.parse(await answer.locator('.highlight-code pre').first().innerText()));
}
