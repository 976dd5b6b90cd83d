// The quick start of docs/chats.md, in a page.
import assert from 'node:assert/strict';
import { open, run } from './browser.mjs';

await run(async ({ browser, base, site, steps, text }) => {
  const page = await open(browser, site, '/', base);
  const [connect, send] = steps;
  // One program of both, as a page has it: sending waits until the socket stands.
  const program = `
    ${connect}
    window.events = [];
    ws.onmessage = (message) => {
      const event = JSON.parse(message.data);
      window.events.push(event);
      if (event.event_type === 'connection_established') { ${send} }
    };
    ws.onclose = (close) => window.events.push({ event_type: 'close', code: close.code });`;
  await page.addScriptTag({ content: program });
  await page.waitForFunction(() => window.events?.some((e) => e.event_type === 'message_stream_ended'));
  const events = await page.evaluate(() => window.events);
  const kinds = events.map((e) => e.event_type);
  assert.deepEqual(kinds.slice(0, 4), ['connection_established', 'user_created', 'message_received', 'message_stream_started']);
  assert.equal(kinds.at(-1), 'message_stream_ended');
  assert.equal(events.filter((e) => e.event_type === 'message_stream_token').map((e) => e.token).join(''), text);
  assert.equal(events.at(-1).content, text);
  assert.equal(events[2].content, 'Hello, I need help with my account');

  // What is wrong a page can read, too: the event, and then the code.
  const [error, close] = await page.evaluate((url) => new Promise((done) => {
    const seen = [];
    const bad = new WebSocket(url);
    bad.onmessage = (message) => seen.push(JSON.parse(message.data));
    bad.onclose = ({ code }) => done([...seen, { code }]);
  }), `${base.replace('http', 'ws')}/ws/chat?api_key=x&user_id=user123&chat_id=x`);
  assert.equal(error.error_code, 'AUTH_ERROR');
  assert.equal(close.code, 1008);
  assert.deepEqual(page.complaints, []);
});
