// When and how a room connects.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../dog.js';
import { FakeWebSocket, MemoryStore, fakePage, follow, pass, record, setUp, settle } from './fixture.js';

const states = (log) => log.map(([, state]) => state);

test('the address has the parameters of the protocol besides those of the program', async (t) => {
  const join = setUp(t);
  const room = join({ token: 'secret', after: '' }, 'https://example.com/room?u=ada');
  await settle();
  const { url, protocols } = FakeWebSocket.last;
  assert.equal(url.origin, 'wss://example.com');
  assert.deepEqual(protocols, ['dog.v1']);
  const { session } = room;
  assert.deepEqual(Object.fromEntries(url.searchParams), { u: 'ada', after: '', session, token: 'secret' });
  assert.match(room.session, /^[A-Za-z0-9_-]{8,64}$/);
});

test('without a position or token there are no such parameters', async (t) => {
  setUp(t)();
  await settle();
  assert.deepEqual([...FakeWebSocket.last.url.searchParams.keys()], ['session']);
});

test('what cannot work throws at once', () => {
  assert.throws(() => connect('no url', { WebSocket: FakeWebSocket }), TypeError);
  for (const session of ['', 'short', 'with a space', 'x'.repeat(65)]) {
    assert.throws(() => connect('ws://example.com', { WebSocket: FakeWebSocket, session }), TypeError);
  }
});

test('waits grow with full jitter up to 30 s, and are forgotten after 10 s open', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'state');
  for (const wait of [250, 500, 1000, 2000, 4000, 8000, 15000, 15000]) {
    await settle();
    FakeWebSocket.last.drop();
    assert.equal(log.at(-1)[2].wait, wait);
    const attempts = FakeWebSocket.all.length;
    await pass(wait - 1);
    assert.equal(FakeWebSocket.all.length, attempts);
    await pass(1);
    assert.equal(FakeWebSocket.all.length, attempts + 1);
  }
  FakeWebSocket.last.hello();
  await pass(9_999);
  FakeWebSocket.last.drop();
  assert.equal(log.at(-1)[2].wait, 15_000);
  await pass(15_000);
  FakeWebSocket.last.hello();
  await pass(10_000);
  FakeWebSocket.last.drop();
  assert.equal(log.at(-1)[2].wait, 250);
});

test('the window of the server replaces one wait', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'state');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('b{"in":[2000,6000]}');
  FakeWebSocket.last.drop(1001, 'restart');
  assert.deepEqual(log.at(-1), ['state', 'waiting', { code: 1001, reason: 'restart', wait: 4000 }]);
  await pass(4000);
  FakeWebSocket.last.drop();
  assert.equal(log.at(-1)[2].wait, 250, 'it was no failure');
});

test('a window that makes no sense is ignored, and one without end is bounded', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'state');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('b{"in":[5,1]}');
  FakeWebSocket.last.receive('b{"in":[-5,1]}');
  FakeWebSocket.last.drop();
  assert.equal(log.at(-1)[2].wait, 250);
  await pass(250);
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('b{"in":[1e300,1e300]}');
  FakeWebSocket.last.drop();
  assert.equal(log.at(-1)[2].wait, 86_400_000);
});

test('an attempt gives up after 10 s, wherever it hangs', async (t) => {
  const join = setUp(t);
  for (const hang of ['token', 'handshake', 'hello']) {
    const room = join({ token: () => (hang === 'token' ? new Promise(() => {}) : undefined) });
    await settle();
    if (hang === 'hello') FakeWebSocket.last.open();
    await pass(9_999);
    assert.equal(room.state, 'connecting', hang);
    await pass(1);
    assert.equal(room.state, 'waiting', hang);
    if (hang !== 'token') assert.ok(FakeWebSocket.last.closed, hang);
    room.close();
  }
});

test('the token is asked for before each attempt, and its failure is one of the attempt', async (t) => {
  const tokens = ['one', new Error('offline'), '', 'two'];
  const room = setUp(t)({
    token: async () => {
      const token = tokens.shift();
      if (token instanceof Error) throw token;
      return token;
    },
  });
  const log = record(room, 'state');
  await settle();
  assert.equal(FakeWebSocket.last.url.searchParams.get('token'), 'one');
  FakeWebSocket.last.drop();
  await pass(250);
  assert.deepEqual(log.at(-1), ['state', 'waiting', { code: 1006, reason: 'offline', wait: 500 }]);
  assert.equal(FakeWebSocket.all.length, 1);
});

test('a server that does not speak dog.v1 is a failed attempt', async (t) => {
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.open('');
  assert.equal(room.state, 'waiting');
  assert.ok(FakeWebSocket.last.closed);
});

test('a malformed frame is a failed connection', async (t) => {
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.open();
  const log = record(room, 'message', 'gap');
  const first = ['', 'q', 'ma1\nA', 'h', 'h{"v":1,', 'h{"v":1,"pos":"k3"}', 'h{"v":1,"in":"x"}', 'h{"v":1,"in":-1}'];
  first.push('h{"v":1,"in":9007199254740992}');
  const later = ['', '\nA', 'g', 'g{', 'g{}', 'g{"to":""}', 'g{"to":"k3"}', `g{"to":"k3-${'a'.repeat(32)}"}`];
  later.push('a', 'ax', 'a-1', 'a1.5', 'a"1"', 'anull', 'a12345678901234567', 'a9007199254740992', 'b', 'b{}');
  later.push('ma 2\nA', 'ma2-a3\nA', 'm"a2"\nA', 'ma2\r\nA', `m${'a'.repeat(32)}\nA`);
  for (const [i, frame] of [...first, ...later].entries()) {
    if (i < first.length) FakeWebSocket.last.open();
    else FakeWebSocket.last.hello();
    FakeWebSocket.last.receive(frame);
    assert.equal(room.state, 'waiting', frame);
    await pass(30_000);
    FakeWebSocket.last.hello();
    assert.equal(room.state, 'open');
    await pass(10_000);
    FakeWebSocket.last.drop();
    await pass(250);
  }
  assert.deepEqual(log, []);
});

test('a place without a history is malformed', async (t) => {
  const room = setUp(t)();
  await settle();
  const log = record(room, 'message');
  FakeWebSocket.last.hello({ pos: '' });
  FakeWebSocket.last.receive('m\nA');
  await settle();
  assert.equal(log.length, 1);
  FakeWebSocket.last.receive('ma1\nB');
  await settle();
  assert.equal(room.state, 'waiting');
  assert.equal(log.length, 1);
});

test('codes from 4000 to 4099 are final, and others are not', async (t) => {
  const join = setUp(t);
  for (const code of [4000, 4001, 4099]) {
    const room = join();
    const log = record(room, 'close');
    const last = record(room, 'state');
    await settle();
    FakeWebSocket.last.hello();
    const sent = follow(room.send('unknown'));
    FakeWebSocket.last.drop(code, 'why');
    assert.equal(room.state, 'closed');
    assert.deepEqual(last.at(-1), ['state', 'closed', { code, reason: 'why' }]);
    await settle();
    assert.equal(sent.result, 'refused');
    assert.equal(sent.error.sent, true);
    assert.deepEqual(log, [['close', { code, reason: 'why' }]]);
    const attempts = FakeWebSocket.all.length;
    await pass(60_000);
    assert.equal(FakeWebSocket.all.length, attempts);
  }
  for (const code of [1000, 1008, 3999, 4100]) {
    const room = join();
    await settle();
    FakeWebSocket.last.hello();
    FakeWebSocket.last.drop(code);
    assert.equal(room.state, 'waiting', String(code));
    room.close();
  }
});

test('close is final, at any time', async (t) => {
  const join = setUp(t);
  for (const when of ['token', 'connecting', 'open', 'waiting', 'closed']) {
    const room = join(when === 'token' ? { token: () => new Promise(() => {}) } : {});
    const log = record(room, 'close');
    await settle();
    if (when === 'open') FakeWebSocket.last.hello();
    if (when === 'waiting') FakeWebSocket.last.drop();
    if (when === 'closed') room.close();
    const ws = FakeWebSocket.last;
    room.close();
    assert.equal(room.state, 'closed');
    if (when === 'open' || when === 'connecting') assert.ok(ws.closed);
    const attempts = FakeWebSocket.all.length;
    ws?.drop(1000);
    await pass(60_000);
    assert.equal(FakeWebSocket.all.length, attempts, when);
    assert.deepEqual(log, [['close', { code: 1000, reason: '' }]], when);
  }
});

test('a room that is closed in a handler of its state stays closed', async (t) => {
  const join = setUp(t);
  for (const state of ['connecting', 'open', 'waiting']) {
    const room = join();
    await settle();
    room.on('state', (to) => to === state && room.close());
    FakeWebSocket.last.hello();
    FakeWebSocket.last.drop();
    await pass(60_000);
    assert.equal(room.state, 'closed');
  }
});

test('states follow the connection, and are reported once', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'state');
  assert.equal(room.state, 'connecting');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.drop();
  await pass(250);
  room.close();
  assert.deepEqual(states(log), ['open', 'waiting', 'connecting', 'closed']);
});

test('it pings after 25 s of silence, and 10 s without an answer mean a dead connection', async (t) => {
  const room = setUp(t)();
  await settle();
  const ws = FakeWebSocket.last;
  ws.hello();
  await pass(24_000);
  ws.receive('m\nnoise');
  await pass(24_999);
  assert.deepEqual(ws.sent, []);
  await pass(1);
  assert.deepEqual(ws.sent, ['p']);
  await pass(9_999);
  ws.receive('q');
  await pass(25_000);
  assert.deepEqual(ws.sent, ['p', 'p']);
  await pass(9_999);
  assert.equal(room.state, 'open');
  await pass(1);
  assert.equal(room.state, 'waiting');
  assert.ok(ws.closed);
});

test('the silence is that of the hello', async (t) => {
  setUp(t)();
  await settle();
  FakeWebSocket.last.hello({ ping: 8000 });
  await pass(8000);
  assert.deepEqual(FakeWebSocket.last.sent, ['p']);
});

test('the network or the page that is back shortens a wait to 1 s at most, once', async (t) => {
  const page = fakePage(t);
  setUp(t)();
  for (let i = 0; i < 7; i++) {
    await settle();
    FakeWebSocket.last.drop();
    if (i < 6) await pass(250 * 2 ** i);
  }
  const attempts = FakeWebSocket.all.length; // the next would be in 15 s
  page.document.visibilityState = 'hidden';
  page.fire(page.document, 'visibilitychange');
  page.fire(page.window, 'online');
  await pass(1000);
  assert.equal(FakeWebSocket.all.length, attempts, 'a hidden page does not hurry');
  page.document.visibilityState = 'visible';
  page.fire(page.document, 'visibilitychange');
  await pass(300);
  page.fire(page.window, 'online');
  await pass(200);
  assert.equal(FakeWebSocket.all.length, attempts + 1);
  FakeWebSocket.last.drop();
  page.fire(page.window, 'online');
  await pass(500);
  assert.equal(FakeWebSocket.all.length, attempts + 2, 'each wait can be shortened');
});

test('the page does not shorten the window of the server', async (t) => {
  const page = fakePage(t);
  setUp(t)();
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('b{"in":[8000,8000]}');
  FakeWebSocket.last.drop(1001);
  page.fire(page.window, 'online');
  await pass(7999);
  assert.equal(FakeWebSocket.all.length, 1);
  await pass(1);
  assert.equal(FakeWebSocket.all.length, 2);
});

test('after sleep an open connection is probed at once', async (t) => {
  const page = fakePage(t);
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.hello();
  page.fire(page.document, 'visibilitychange');
  assert.deepEqual(FakeWebSocket.last.sent, ['p']);
  await pass(10_000);
  assert.equal(room.state, 'waiting');
});

test('a room that is closed leaves nothing behind in the page', async (t) => {
  const page = fakePage(t);
  const store = new MemoryStore();
  const room = setUp(t)({ store });
  await settle();
  FakeWebSocket.last.hello();
  room.close();
  const kept = [...store];
  for (const type of ['online', 'pagehide', 'pageshow']) page.fire(page.window, type);
  page.fire(page.document, 'visibilitychange');
  await pass(60_000);
  assert.equal(FakeWebSocket.all.length, 1);
  assert.deepEqual(FakeWebSocket.last.sent, []);
  assert.deepEqual([...store], kept);
});
