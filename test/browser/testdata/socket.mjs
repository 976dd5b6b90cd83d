// The page of the WebSocket interface: two tabs, two users, one room.
import assert from 'node:assert/strict';
import { open, picture, run, usable } from './browser.mjs';

await run(async (given) => {
  const { browser, base, room, user, peer, shots } = given;
  const alice = await open(browser, base, '/docs/socket');
  await usable(alice);
  await picture(alice, shots, 'socket');
  await wantATemplateForEveryFrame(alice, base);
  assert.equal(await alice.locator('#url').innerText(), `${base.replace('http', 'ws')}/ws?token=wst_…`);

  await connectByKeyboard(alice, given.key, user);
  const bob = await open(browser, base, '/v1/docs/socket');
  assert.equal(await bob.locator('#url').innerText(), `${base.replace('http', 'ws')}/v1/ws?token=wst_…`);
  await connectByKeyboard(bob, given.key, peer);
  await frame(alice, 'in', 'presence.update', { user_id: peer, status: 'online' });

  const content = given.content;
  await send(alice, 'send_message', { content });
  await frame(alice, 'in', 'reply', { data: { content } });
  const { seq } = await frame(bob, 'in', 'message', { room_id: room, sender_id: user, content });
  await send(bob, 'typing.start');
  await frame(alice, 'in', 'typing', { room_id: room, user_id: peer });
  await send(bob, 'read', { seq });
  await frame(alice, 'in', 'read.received', { room_id: room, user_id: peer, seq });

  await notify(given, user);
  await frame(alice, 'in', 'notification', { topic: 'orders', payload: { text: content } });
  await wantEveryFrameToBeTaken(alice);
  await wantFilters(alice);
  await wantReadableErrors(alice);
  await alice.locator('#frames li[data-type=message] summary').first().click();
  await usable(alice);
  await picture(alice, shots, 'socket-used');
  await alice.getByRole('button', { name: 'Disconnect' }).click();
  await status(alice, 'closed', 'Closed with 1000.');
  await frame(bob, 'in', 'presence.update', { user_id: user, status: 'offline' });

  await resumeWithAToken(await open(browser, base, '/docs/socket'), given.token);
  for (const page of [alice, bob]) assert.deepEqual(page.complaints, []);
  await wantARefusalToBeReadable(await open(browser, base, '/docs/socket'), shots);
});

async function connectByKeyboard(page, key, user) {
  await page.getByLabel('API key', { exact: true }).focus();
  await page.keyboard.insertText(key);
  await page.keyboard.press('Tab');
  await page.keyboard.insertText(user);
  await page.keyboard.press('Enter');
  await status(page, 'open', 'Connected.');
  await frame(page, 'in', 'connected', { user_id: user });
  await frame(page, 'in', 'sync.complete');
  await page.waitForFunction(() => document.getElementById('room').value !== '');
}

async function status(page, state, says) {
  const line = page.locator(`#status[data-state=${state}]`);
  await line.waitFor();
  assert.ok((await line.innerText()).includes(says), `the status is ${await line.innerText()}`);
}

// notify tells a user something, as the tenant's backend does.
async function notify({ base, key, content }, user) {
  const answer = await fetch(`${base}/notify`, {
    method: 'POST',
    headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ topic: 'orders', payload: { text: content }, targets: { user_ids: [user] } }),
  });
  assert.equal(answer.status, 202);
}

// frame waits until the page lists a frame that has the fields, and returns it whole.
async function frame(page, direction, type, fields = {}) {
  const found = await page.waitForFunction(({ direction, type, fields }) => {
    const has = (whole, part) => Object.entries(part).every(([name, value]) =>
      typeof value === 'object' ? has(whole[name] ?? {}, value) : whole[name] === value);
    const items = document.querySelectorAll(`#frames li[data-direction="${direction}"][data-type="${type}"] pre`);
    return [...items].map((pre) => JSON.parse(pre.textContent)).find((f) => has(f, fields));
  }, { direction, type, fields }).catch((error) => {
    throw new Error(`no ${type} ${JSON.stringify(fields)} was listed`, { cause: error });
  });
  return found.jsonValue();
}

// send fills in a template, changes some of its fields, and sends it from the keyboard. It returns what was sent.
async function send(page, type, fields = {}) {
  const text = page.getByLabel('JSON');
  await text.fill('');
  await page.locator('#template').evaluate((select) => { select.selectedIndex = -1; }); // what is chosen cannot be chosen again
  await page.locator('#template').selectOption(type);
  await page.waitForFunction(() => document.getElementById('frame').value !== '');
  const whole = { ...JSON.parse(await text.inputValue()), ...fields };
  await text.fill(JSON.stringify(whole));
  await text.press('Control+Enter');
  return frame(page, 'out', type, { request_id: whole.request_id });
}

async function wantATemplateForEveryFrame(page, base) {
  const specification = await (await page.request.get(`${base}/asyncapi.json`)).json();
  const wanted = specification.operations.fromClient.messages.map((m) => m.$ref.split('/').at(-1));
  const offered = await page.locator('#template option').evaluateAll((options) => options.map((o) => o.value));
  assert.deepEqual(offered.toSorted(), wanted.toSorted());
}

// wantEveryFrameToBeTaken sends each template as it is; resume is for the start of a socket alone.
async function wantEveryFrameToBeTaken(page) {
  const types = await page.locator('#template option').evaluateAll((options) => options.map((o) => o.value));
  for (const type of types.filter((t) => t !== 'resume')) {
    const { request_id } = await send(page, type);
    await frame(page, 'in', type === 'ping' ? 'pong' : 'reply', { request_id });
  }
  assert.equal(await page.locator('#frames li[data-type=error]').count(), 0);
}

async function wantFilters(page) {
  const shown = () => page.locator('#frames li:visible').evaluateAll((items) => [...new Set(items.map((i) => `${i.dataset.direction} ${i.dataset.type}`))].toSorted());
  await page.getByLabel('Type contains').fill('typing');
  assert.deepEqual(await shown(), ['in typing', 'out typing.start', 'out typing.stop']);
  await page.locator('#direction').selectOption('received');
  assert.deepEqual(await shown(), ['in typing']);
  assert.match(await page.locator('#count').innerText(), /^\d+ of \d+$/);
  await page.getByLabel('Type contains').fill('');
  await page.locator('#direction').selectOption('both');
  assert.ok((await shown()).length > 8, 'without a filter everything is shown');
}

async function wantReadableErrors(page) {
  await send(page, 'send_message', { content: '' });
  await page.locator('#frames li[data-type=error] summary', { hasText: /VALIDATION_ERROR: .+ \(content\)/ }).waitFor();
  await page.getByLabel('JSON').fill('{"type":');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.locator('#send-failure', { hasText: 'Not sent. ' }).waitFor();
  await status(page, 'open', 'Connected.');
}

async function resumeWithAToken(page, token) {
  await page.getByLabel('JWT', { exact: true }).first().check();
  await page.locator('#jwt').fill(token);
  await page.getByLabel('Wait for a resume frame').check();
  await page.getByLabel('Acknowledge by ack=auto').check();
  assert.match(await page.locator('#url').innerText(), /&resume=1&ack=auto$/);
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  await status(page, 'open', 'Connected.');
  const { epoch } = await frame(page, 'in', 'connected');
  assert.equal((await send(page, 'resume')).epoch, epoch);
  await frame(page, 'in', 'sync.complete');
  assert.deepEqual(page.complaints, []);
}

async function wantARefusalToBeReadable(page, shots) {
  await page.getByLabel('API key', { exact: true }).fill('sk_wrong');
  await page.getByLabel('User id', { exact: true }).fill('mallory');
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  await status(page, 'failed', 'No ticket. 401 AUTHENTICATION_ERROR: ');
  assert.ok(await page.getByRole('button', { name: 'Connect', exact: true }).isEnabled());
  assert.ok(await page.getByRole('button', { name: 'Send' }).isDisabled());
  await picture(page, shots, 'socket-refused');
}
