// The page of the WebSocket interface: a ticket, a socket, and the frames in both directions.
'use strict';

const $ = (id) => document.getElementById(id);
const home = new URL('..', location.href); // where /ws is, beside /docs
const maxFrames = 500; // shown; older ones go

// One for each frame of a client in asyncapi.json.
const templates = {
  send_message: (room) => ({ room_id: room, content: 'Hello' }),
  ack: (room) => ({ room_id: room, seq: seen.get(room) ?? 1 }),
  read: (room) => ({ room_id: room, seq: seen.get(room) ?? 1 }),
  'notification.ack': () => ({ notification_id: notification }),
  'typing.start': (room) => ({ room_id: room }),
  'typing.stop': (room) => ({ room_id: room }),
  subscribe: (room) => ({ room_id: room, after_seq: 0 }),
  resume: () => (cursor ? { cursor } : { epoch, rooms: [] }),
  auth: async () => ({ token: (await ticket()).token }),
  ping: () => ({}),
};

// What the close codes of asyncapi.json ask for.
const endings = {
  1001: 'the server is going away: connect again',
  1003: 'a frame was not text',
  1006: 'the connection broke, or the upgrade was refused',
  1007: 'a frame was not valid UTF-8',
  1008: 'against the rules: too many sockets of this user, no resume frame within 5 s, or 60 s of silence',
  1009: 'a frame was larger than 64 KiB',
  1011: 'an error in the server',
  1013: 'the room logs cannot be read at the moment',
  4401: 'the token has expired or was revoked',
  4408: 'the connection took no data for 10 s',
  4429: 'more than 50 frames a second',
};

let socket = null;
let attempt = 0; // the latest click on Connect or Disconnect; what an earlier one still awaits is void
let epoch = '';
let cursor = '';
let notification = 'notif_…'; // the latest that came
let requests = 0;
const seen = new Map(); // the highest seq by room

// --- The connection ---

const isKey = () => document.querySelector('[name=kind]:checked').value === 'key';

function credentials() {
  if (isKey()) return { 'X-API-Key': $('key').value.trim(), 'X-User-Id': $('user').value };
  return { Authorization: `Bearer ${$('jwt').value.trim()}` };
}

// call asks the REST interface and throws what it complains about in a readable form.
async function call(method, path) {
  const answer = await fetch(new URL(path, home), { method, headers: credentials() });
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const { code = answer.statusText, message = '' } = body.error ?? {};
  throw new Error(`${answer.status} ${code}: ${message}`);
}

const ticket = () => call('POST', 'ws/token');

// address is what the socket is opened at; the ticket is left out where it is only shown.
function address(token = 'wst_…') {
  const url = new URL('ws', home);
  url.protocol = url.protocol.replace('http', 'ws');
  const query = [`token=${token}`];
  if ($('device').value) query.push(`device_id=${encodeURIComponent($('device').value)}`);
  if ($('resume').checked) query.push('resume=1');
  if ($('auto').checked) query.push('ack=auto');
  return `${url}?${query.join('&')}`;
}

async function connect() {
  const mine = ++attempt;
  state('opening', 'Asking for a ticket …');
  try {
    const { token } = await ticket();
    if (mine !== attempt) return;
    state('opening', 'Opening the socket …');
    open(new WebSocket(address(token)));
    offerRooms();
  } catch (failure) {
    if (mine === attempt) state('failed', `No ticket. ${failure.message}`);
  }
}

function open(opened) {
  socket = opened;
  socket.onopen = () => state('open', 'Connected.');
  socket.onmessage = (event) => received(event.data);
  socket.onclose = ({ code, reason }) => {
    if (socket !== opened) return;
    socket = null;
    const why = code === 1000 ? [] : [reason, endings[code]].filter(Boolean);
    state(code === 1000 ? 'closed' : 'failed', [`Closed with ${code}`, ...why].join(', ') + '.');
  };
}

function disconnect() {
  attempt++;
  if (socket) socket.close(1000);
  else state('closed', 'Not connected.');
}

function state(name, text) {
  $('status').dataset.state = name;
  $('status').textContent = text;
  $('open').disabled = name === 'opening' || name === 'open';
  $('close').disabled = !$('open').disabled;
  $('go').disabled = name !== 'open';
}

// offerRooms lists the user's rooms under the room field. Without them it can be typed.
async function offerRooms() {
  const rooms = await call('GET', 'rooms?limit=100').catch(() => []);
  $('rooms').replaceChildren(...rooms.map((room) => new Option(room.name ?? room.unique_key ?? room.type, room.room_id)));
  if (rooms.length > 0) suggestRoom(rooms[0].room_id);
}

function suggestRoom(room) {
  if ($('room').value) return;
  $('room').value = room;
  putRoom();
}

// putRoom writes the room into the frame and leaves what was typed there.
function putRoom() {
  let frame = null;
  try { frame = JSON.parse($('frame').value); } catch { /* half typed */ }
  if (frame?.room_id === undefined) return;
  frame.room_id = $('room').value;
  $('frame').value = pretty(frame);
}

// --- Frames ---

function received(text) {
  let frame = {};
  try { frame = JSON.parse(text) ?? {}; } catch { /* shown as it is */ }
  epoch = frame.epoch ?? epoch;
  cursor = frame.cursor ?? cursor;
  notification = frame.notification_id ?? notification;
  if (frame.room_id) suggestRoom(frame.room_id);
  if (frame.room_id && frame.seq > (seen.get(frame.room_id) ?? 0)) seen.set(frame.room_id, frame.seq);
  list('in', frame, text);
}

function send() {
  $('send-failure').textContent = '';
  try {
    const frame = JSON.parse($('frame').value);
    const text = JSON.stringify(frame);
    socket.send(text);
    list('out', frame ?? {}, text);
    if (frame?.request_id === `r${requests}`) $('frame').value = pretty({ ...frame, request_id: `r${++requests}` });
  } catch (failure) {
    $('send-failure').textContent = `Not sent. ${failure.message}`;
  }
}

// fill writes the chosen template into the text. The auth frame waits for its ticket; a later choice overtakes it.
async function fill() {
  const type = $('template').value;
  $('send-failure').textContent = '';
  try {
    const fields = await templates[type]($('room').value);
    if (type !== $('template').value) return;
    $('frame').value = pretty({ type, request_id: `r${++requests}`, ...fields });
  } catch (failure) {
    $('send-failure').textContent = `No ticket for auth. ${failure.message}`;
  }
}

function list(direction, frame, text) {
  const type = String(frame.type ?? '?');
  const line = document.createElement('summary');
  line.append(element('time', new Date().toISOString().slice(11, 23)), element('span', direction === 'in' ? '←' : '→', 'arrow'),
    element('b', type), element('code', brief(frame, text)));
  const details = document.createElement('details');
  details.append(line, element('pre', frame.type ? pretty(frame) : text));
  const item = document.createElement('li');
  Object.assign(item.dataset, { direction, type });
  item.append(details);
  item.hidden = !wanted(item);
  $('frames').prepend(item);
  if ($('frames').children.length > maxFrames) $('frames').lastChild.remove();
  if (![...$('types').options].some((option) => option.value === type)) $('types').append(new Option(type, type));
  count();
}

// brief is what stands on a frame's line: what an error or a message says, else the frame without its longest ids.
function brief(frame, text) {
  if (frame.type === 'error') return `${frame.code}: ${frame.message}${frame.field ? ` (${frame.field})` : ''}`;
  if (frame.sender_id && frame.content !== undefined) return `${frame.sender_id}: ${frame.content}${frame.redelivered ? ' (again)' : ''}`;
  if (frame.type === 'notification') return `${frame.topic}: ${JSON.stringify(frame.payload)}${frame.redelivered ? ' (again)' : ''}`;
  if (!frame.type) return text;
  const { type, room_id, message_id, ...rest } = frame;
  return JSON.stringify(rest);
}

const pretty = (frame) => JSON.stringify(frame, null, 2);

function element(name, text, className = '') {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function wanted({ dataset }) {
  return dataset.type.includes($('filter').value.trim()) && dataset.direction.includes($('direction').value);
}

function refilter() {
  for (const item of $('frames').children) item.hidden = !wanted(item);
  count();
}

function count() {
  const items = [...$('frames').children];
  const shown = items.filter((item) => !item.hidden).length;
  $('count').textContent = shown === items.length ? `${shown}` : `${shown} of ${items.length}`;
}

// --- The page ---

function refresh() {
  $('with-key').hidden = !isKey();
  $('with-jwt').hidden = isKey();
  $('url').textContent = address();
}

$('template').append(...Object.keys(templates).map((type) => new Option(type, type)));
$('ticket-path').textContent = new URL('ws/token', home).pathname;
$('connect').addEventListener('input', refresh);
$('connect').addEventListener('submit', (event) => { event.preventDefault(); connect(); });
$('close').addEventListener('click', disconnect);
$('send').addEventListener('submit', (event) => { event.preventDefault(); send(); });
$('template').addEventListener('change', fill);
$('room').addEventListener('change', putRoom);
$('frame').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('send').requestSubmit($('go'));
});
$('filter').addEventListener('input', refilter);
$('direction').addEventListener('change', refilter);
$('clear').addEventListener('click', () => { $('frames').replaceChildren(); count(); });
refresh();
fill();
