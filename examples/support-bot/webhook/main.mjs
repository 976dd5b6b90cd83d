// The backend of a support bot: before each answer ChatAPI asks it what the bot is to be told. It answers from the room's
// metadata, and calls a person when the customer asks for one. main.go is the same in Go.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const { CHATAPI_URL, CHATAPI_KEY, WEBHOOK_SECRET, ASSIGNEE, PORT } = process.env;
if (!WEBHOOK_SECRET) throw new Error('WEBHOOK_SECRET is missing: anybody could call');
const key = WEBHOOK_SECRET.startsWith('whsec_') ? Buffer.from(WEBHOOK_SECRET.slice(6), 'base64') : Buffer.from(WEBHOOK_SECRET);

// answer says what the bot is told, or that it is to be silent.
async function answer({ room_id, room_metadata, message }) {
  if (/\b(human|person|agent|somebody)\b/i.test(message.content)) {
    await handOff(room_id);
    return { skip: true };
  }
  const { customer, order, status } = room_metadata ?? {};
  return {
    system_prompt: 'You answer customers of Acme, in two sentences at most. '
      + `You talk to ${customer}, whose order ${order} ${status}. What you do not know you do not make up.`,
  };
}

// handOff gives the room to a person: its bots are silent until somebody gives it back with {"mode":"bot"}.
async function handOff(room) {
  const got = await fetch(`${CHATAPI_URL}/rooms/${room}/handoff`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json', 'X-API-Key': CHATAPI_KEY },
    body: JSON.stringify({ mode: 'human', assignee: ASSIGNEE }),
  });
  if (!got.ok) throw new Error(`the handoff was answered ${got.status}`);
}

// genuine verifies a signature of Standard Webhooks that is at most five minutes old.
function genuine(headers, body) {
  const id = headers['webhook-id'], at = headers['webhook-timestamp'];
  if (!(Math.abs(Date.now() / 1000 - at) <= 300)) return false;
  const want = Buffer.from('v1,' + createHmac('sha256', key).update(`${id}.${at}.`).update(body).digest('base64'));
  return (headers['webhook-signature'] ?? '').split(' ').map((given) => Buffer.from(given))
    .some((given) => given.length === want.length && timingSafeEqual(given, want));
}

createServer(async (request, response) => {
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (!genuine(request.headers, body)) return response.writeHead(401).end();
    const event = JSON.parse(body);
    if (event.type !== 'bot.context') return response.writeHead(204).end(); // of other events there will be more
    const said = await answer(event);
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(said));
  } catch (failure) {
    console.error(failure.message);
    response.writeHead(500).end(); // the bot says nothing then
  }
}).listen(PORT || 0, '127.0.0.1', function () { console.log(`http://127.0.0.1:${this.address().port}`); });
