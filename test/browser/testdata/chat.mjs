// examples/web-chat: a customer, an agent and a bot in one room. Carol is the room's admin.
import assert from 'node:assert/strict';
import { open, picture, run, usable } from './browser.mjs';

await run(async (given) => {
  const { shots, texts } = given;
  const alice = await enter(given, 'alice');
  await usable(alice);

  // An answer, while it is made: from its start, and for one who comes midway.
  await script(given, '1500ms', texts.shipped); // long enough for all the pictures
  await say(alice, texts.where);
  await streaming(alice, start(texts.shipped, 4));
  const carol = await enter(given, 'carol');
  await streaming(carol, start(texts.shipped, 6));
  await usable(carol);
  await Promise.all([picture(alice, shots, 'chat-midstream-alice'), picture(carol, shots, 'chat-midstream-carol')]);
  await Promise.all([streaming(alice, start(texts.shipped, 1)), streaming(carol, start(texts.shipped, 1))]); // the pictures were of an answer under way
  await alice.getByRole('button', { name: 'Stop' }).click();
  for (const page of [alice, carol]) await said(page, 'bot', start(texts.shipped, 6), 'stopped');

  // A whole one.
  await script(given, '20ms', texts.letterBox);
  await say(alice, texts.home);
  for (const page of [alice, carol]) await said(page, 'bot', texts.letterBox);

  // A connection that breaks: what was said meanwhile comes, and what was to be said goes, once.
  await script(given, '300ms', texts.numbers);
  await say(alice, texts.count);
  await streaming(alice, start(texts.numbers, 2));
  await alice.drop();
  await alice.locator('#status[data-state=waiting]').waitFor();
  await say(alice, texts.there);
  await say(carol, texts.here);
  await alice.locator('#status[data-state=open]').waitFor();
  await streaming(alice, start(texts.numbers, 3));
  for (const page of [alice, carol]) {
    await said(page, 'bot', texts.numbers);
    await said(page, page === alice ? 'me' : 'other', texts.there);
    await said(page, page === carol ? 'me' : 'other', texts.here);
  }
  await quiet(given); // the bot has answered what came meanwhile

  // Typing, and a notification.
  await carol.getByLabel('Message', { exact: true }).pressSequentially('Let me');
  await alice.getByText('carol is typing …').waitFor();
  await carol.getByLabel('Message', { exact: true }).fill('');
  await alice.getByText('carol is typing …').waitFor({ state: 'detached' });
  await backend(given, 'POST', '/notify', { topic: 'orders', payload: { text: texts.parcel }, targets: { user_ids: ['alice'] } });
  await alice.getByText(`orders: ${texts.parcel}`).waitFor();
  await alice.getByRole('button', { name: 'Dismiss' }).click();

  // A person takes over from an answer under way, and gives back.
  assert.equal(await alice.getByRole('button', { name: 'Take over' }).count(), 0, 'only admins take over');
  await script(given, '1s', texts.people);
  await say(alice, texts.refund);
  for (const page of [alice, carol]) await streaming(page, start(texts.people, 2));
  await carol.getByRole('button', { name: 'Take over' }).click();
  await said(alice, 'note', 'carol answers from here on.');
  await said(carol, 'note', 'You answer from here on.');
  for (const page of [alice, carol]) await page.locator('#log li[data-state=streaming]').waitFor({ state: 'detached' });
  await say(carol, texts.hello);
  await say(alice, texts.thanks);
  await said(carol, 'other', texts.thanks);
  await Promise.all([picture(alice, shots, 'chat-handoff-alice'), picture(carol, shots, 'chat-handoff-carol')]);
  await usable(alice);
  await alice.setViewportSize({ width: 390, height: 600 });
  await alice.waitForFunction(() => {
    const box = document.getElementById('scroll');
    return box.scrollHeight > box.clientHeight && box.scrollHeight - box.scrollTop - box.clientHeight < 2;
  }); // the newest stays on a screen that has become smaller
  await script(given, '0s', texts.pleasure);
  await carol.getByRole('button', { name: 'Give back to the bot' }).click();
  await said(alice, 'note', 'The bot answers again.');
  await say(alice, texts.bye);
  for (const page of [alice, carol]) await said(page, 'bot', texts.pleasure);

  await wantTheHistory(given, alice, carol);
  for (const page of [alice, carol]) assert.deepEqual(page.complaints, []);
});

// enter opens the page as a user, with a way to break its connection.
async function enter({ browser, page: at, base, tokens, room }, user) {
  const page = await open(browser, at, '/', base);
  let socket;
  await page.routeWebSocket(/\/ws\?/, (route) => { socket = route; route.connectToServer(); });
  page.drop = () => socket.close({ code: 1012 });
  if (user === 'alice') {
    await page.getByLabel('Server').fill(base);
    for (const token of ['wrong', tokens[user]]) { // a mistake is told on the form, and mended there
      await page.getByLabel('Token of the user').fill(token);
      await page.getByRole('button', { name: 'Join' }).click();
      if (token === 'wrong') await page.getByText(`${base}/ says: Invalid or missing credentials`).waitFor();
    }
    assert.match(page.complaints.splice(0).join(), /^said Failed to load resource: [^,]* 401 [^,]*$/);
  } else {
    await page.goto(`${at}/#${new URLSearchParams({ server: base, token: tokens[user], room })}`);
    await page.reload(); // another fragment alone loads nothing
  }
  await page.getByText(`Connected as ${user}`).waitFor();
  assert.equal(page.url(), `${at}/`, 'the fragment stays in no history');
  return page;
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

// start is how a text begins, in so many words.
function start(text, words) {
  return text.split(' ', words).join(' ');
}

// streaming waits for an answer under way that begins like this.
async function streaming(page, text) {
  await shows(page, { state: 'streaming', by: 'bot' }, text);
}

// said waits for something that is said, of the text, or of one that begins so and has a remark.
async function said(page, by, text, remark = '') {
  const state = by === 'note' ? 'note' : 'said';
  await shows(page, { state, by }, text, remark);
}

async function shows(page, { state, by }, text, remark = '') {
  const whole = state !== 'streaming' && remark === '';
  await page.waitForFunction(({ state, by, text, whole, remark }) =>
    [...document.querySelectorAll(`#log li[data-state=${state}][data-by=${by}]`)].some((li) => {
      const content = li.querySelector('span').textContent;
      return (whole ? content === text : content.startsWith(text)) && li.querySelector('small').textContent.includes(remark);
    }), { state, by, text, whole, remark }).catch(async (error) => {
    throw new Error(`no ${state} of ${by}: ${text}; the page says ${await page.locator('#log').innerText()}`, { cause: error });
  });
}

async function backend({ base, key }, method, path, body) {
  const answer = await fetch(base + path, {
    method, headers: { 'X-API-Key': key, 'Content-Type': 'application/json' }, body: body && JSON.stringify(body),
  });
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.json();
}

// script says how the model answers from now on: word by word.
function script(given, interval, text) {
  return backend(given, 'PATCH', `/bots/${given.bot}`, { model: `answer?interval=${interval}&text=${text}` });
}

function history(given) {
  return backend(given, 'GET', `/rooms/${given.room}/messages?limit=100`);
}

// quiet waits until the bot has answered the last message of a person.
async function quiet(given) {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const messages = await history(given);
    const asked = messages.filter((m) => m.sender_type === 'user').at(-1);
    if (messages.some((m) => m.reply_to === asked.message_id)) return;
  }
  throw new Error('the bot has not answered');
}

// wantTheHistory fails unless both pages show what is stored, each message once and in order.
async function wantTheHistory(given, ...pages) {
  const stored = (await history(given)).map((m) => m.content);
  assert.ok(stored.length >= 14, `${stored.length} messages`);
  for (const page of pages) {
    const shown = await page.locator('#log li:not([data-by=note]) span').allTextContents();
    assert.deepEqual(shown, stored);
  }
}
