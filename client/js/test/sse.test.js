// The way out when WebSockets do not open: SSE and POST.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeServer, FakeWebSocket, MemoryStore, follow, pass, record, setUp, settle } from './fixture.js';

const history = 'https://example.com/history?u=ada';
const post = 'https://example.com/post';

/** Lets time pass until there are so many WebSockets. */
const nextSocket = async (count) => {
  while (FakeWebSocket.all.length < count) await pass(250);
};

/** Makes a room that has just turned to SSE, and its server. */
const fallBack = async (t, options = {}) => {
  const join = setUp(t);
  const server = new FakeServer();
  const room = join({ history, fetch: server.fetch, ...options });
  for (const wait of [250, 500, 1000]) {
    await settle();
    FakeWebSocket.last.drop();
    assert.equal(server.requests.length, 0);
    await pass(wait);
  }
  assert.equal(FakeWebSocket.all.length, 3);
  assert.equal(server.requests.length, 1);
  return { room, server, join };
};

test('after three attempts that did not open it reads the history by SSE', async (t) => {
  const { room, server } = await fallBack(t, { after: 'k3-a5', token: 'secret' });
  const log = record(room, 'message', 'gap');
  assert.equal(server.last.url.origin + server.last.url.pathname, 'https://example.com/history');
  assert.deepEqual(Object.fromEntries(server.last.url.searchParams), {
    u: 'ada',
    offset: 'k3-a5',
    live: 'sse',
    token: 'secret',
  });
  server.last.begin();
  await settle();
  assert.equal(room.state, 'behind');
  server.last.data({ n: 1 }, 'text', [2]);
  await settle();
  assert.deepEqual(log, [], 'the position is not known yet');
  server.last.control('k3-a8', false);
  server.last.data({ $base64: 'AAr/' });
  server.last.control('k3-a9');
  await settle();
  assert.deepEqual(log, [
    ['message', { n: 1 }, ''],
    ['message', 'text', ''],
    ['message', [2], 'k3-a8'],
    ['message', new Uint8Array([0, 10, 255]).buffer, 'k3-a9'],
  ]);
  assert.equal(room.position, 'k3-a9');
  assert.equal(room.state, 'open');
});

test('without a way out it goes on trying WebSockets', async (t) => {
  const server = new FakeServer();
  setUp(t)({ fetch: server.fetch });
  for (let i = 1; i < 7; i++) {
    await nextSocket(i);
    FakeWebSocket.last.drop();
  }
  await nextSocket(7);
  assert.equal(server.requests.length, 0);
});

test('attempts that opened in between begin the count again', async (t) => {
  const server = new FakeServer();
  setUp(t)({ history, fetch: server.fetch });
  for (let i = 1; i < 12; i++) {
    await nextSocket(i);
    if (i % 3 === 0) FakeWebSocket.last.hello();
    FakeWebSocket.last.drop();
  }
  await nextSocket(12);
  assert.equal(server.requests.length, 0);
});

test('where there is no WebSocket at all it begins with SSE', async (t) => {
  const server = new FakeServer();
  const native = globalThis.WebSocket;
  globalThis.WebSocket = undefined;
  t.after(() => (globalThis.WebSocket = native));
  setUp(t)({ history, fetch: server.fetch, WebSocket: undefined });
  await settle();
  assert.equal(server.requests.length, 1);
});

test('a room without a position begins now, or before everything, and is told so', async (t) => {
  for (const [after, offset] of [
    [undefined, 'now'],
    ['', '-1'],
  ]) {
    await t.test(offset, async (t) => {
      const { room, server } = await fallBack(t, { after });
      const log = record(room, 'gap');
      assert.equal(server.last.url.searchParams.get('offset'), offset);
      server.last.begin();
      await settle();
      server.last.control('k3-a9');
      await settle();
      assert.deepEqual(log, [['gap', 'first', '']]);
      assert.equal(room.position, 'k3-a9');
    });
  }
});

test('events may come in pieces, with other line ends and with comments', async (t) => {
  const { room, server } = await fallBack(t);
  const log = record(room, 'message');
  server.last.begin();
  const text =
    ': comment\n\nretry: 1000\n\nevent: data\r\ndata: [\r\ndata:"é\u2028data: x"]\r\n\r\n' +
    'event: control\r\ndata: {"streamNextOffset":"k3-a1"}\r\n\r\nevent: other\ndata: nothing\n\n';
  for (const byte of new TextEncoder().encode(text)) server.last.stream.enqueue(new Uint8Array([byte]));
  for (let i = 0; i < 40; i++) await settle();
  assert.deepEqual(log, [['message', 'é\u2028data: x', 'k3-a1']]);
});

test('json: false gives texts', async (t) => {
  const { room, server } = await fallBack(t, { json: false });
  const log = record(room, 'message');
  server.last.begin();
  server.last.data({ n: 1 }, 'text');
  server.last.control('k3-a2');
  await settle();
  assert.deepEqual(log.map(([, data]) => data), ['{"n":1}', 'text']);
});

test('what has no position yet is read again', async (t) => {
  const { room, server } = await fallBack(t, { after: 'k3-a5' });
  const log = record(room, 'message');
  server.last.begin();
  server.last.data('A');
  await settle();
  server.last.end();
  await pass(4000);
  assert.equal(server.last.url.searchParams.get('offset'), 'k3-a5');
  assert.deepEqual(log, []);
});

test('a stream that ends after a while is opened again without an event', async (t) => {
  const { room, server } = await fallBack(t);
  server.last.begin();
  server.last.control('k3-a1');
  await pass(10_000);
  const log = record(room, 'state');
  server.last.end();
  await pass(250);
  assert.equal(server.requests.length, 2);
  assert.equal(server.last.url.searchParams.get('offset'), 'k3-a1');
  server.last.begin();
  server.last.control('k3-a1');
  await pass(10_000);
  assert.deepEqual(log, []);

  server.last.end();
  await pass(250);
  server.last.fail();
  await settle();
  assert.deepEqual(log, [['state', 'waiting', { code: 1006, reason: 'network', wait: 500 }]]);
});

test('a stream without any byte for 35 s is dead', async (t) => {
  const { room, server } = await fallBack(t);
  server.last.begin();
  server.last.control('k3-a1');
  await pass(34_000);
  server.last.write(': comment\n\n');
  await pass(34_999);
  assert.equal(room.state, 'open');
  await pass(1);
  assert.equal(room.state, 'waiting');
  assert.ok(server.last.aborted);
});

test('410 is a gap: it goes on with the oldest message', async (t) => {
  const { room, server } = await fallBack(t, { after: 'k3-a5' });
  const log = record(room, 'gap');
  server.last.answer(410);
  await pass(4000);
  assert.deepEqual(log, [['gap', 'expired', '']]);
  assert.equal(server.last.url.searchParams.get('offset'), '-1');
  server.last.begin();
  server.last.control('k3-a90');
  await settle();
  assert.equal(log.length, 1);
  assert.equal(room.position, 'k3-a90');
});

test('401, 403 and 404 are final; for others it waits, as Retry-After says', async (t) => {
  for (const status of [401, 403, 404]) {
    await t.test(String(status), async (t) => {
      const { room, server } = await fallBack(t);
      const log = record(room, 'close');
      server.last.answer(status);
      await settle();
      assert.deepEqual(log, [['close', { code: status, reason: 'status ' + status }]]);
    });
  }
  await t.test('503', async (t) => {
    const { room, server } = await fallBack(t);
    const log = record(room, 'state');
    server.last.answer(503, { 'retry-after': '120' });
    await settle();
    assert.deepEqual(log, [['state', 'waiting', { code: 503, reason: 'status 503', wait: 120_000 }]]);
    await pass(120_000);
    FakeWebSocket.last.drop();
    assert.equal(log.at(-1)[2].wait, 4000);
    await pass(4000);
    assert.equal(server.requests.length, 2);
    server.last.answer(500, { 'retry-after': 'Wed, 21 Oct 2099 07:28:00 GMT' });
    await settle();
    assert.equal(log.at(-1)[2].wait, 8000);
  });
});

test('a server that is away is asked by WebSockets and HTTP in turns', async (t) => {
  const { room, server } = await fallBack(t);
  for (let i = 1; i < 5; i++) {
    server.last.fail();
    await nextSocket(3 + i);
    assert.equal(server.requests.length, i);
    FakeWebSocket.last.drop();
    while (server.requests.length === i) await pass(250);
    assert.equal(FakeWebSocket.all.length, 3 + i);
  }
  server.last.fail();
  await nextSocket(8);
  FakeWebSocket.last.hello();
  assert.equal(room.state, 'open');
  assert.equal(server.requests.length, 5);
});

test('when a stream is up to date, a WebSocket is tried beside it, and takes its place', async (t) => {
  const { room, server } = await fallBack(t, { after: 'k3-a5' });
  const log = record(room, 'state', 'message', 'gap');
  server.last.begin();
  server.last.data('A');
  server.last.control('k3-a6', false);
  await settle();
  assert.equal(FakeWebSocket.all.length, 3);
  server.last.control('k3-a7');
  await settle();
  assert.equal(FakeWebSocket.all.length, 4);
  assert.equal(FakeWebSocket.last.url.searchParams.get('after'), 'k3-a7');
  FakeWebSocket.last.open();
  server.last.data('B');
  server.last.control('k3-a8');
  server.last.data('C has no position yet');
  await settle();
  assert.ok(!server.last.aborted);

  FakeWebSocket.last.hello({ pos: 'k3-a7' });
  assert.ok(server.last.aborted);
  assert.ok(!FakeWebSocket.last.closed);
  FakeWebSocket.last.receive('m\n"not kept"');
  for (const [place, text] of [['a8', 'B'], ['a9', 'C'], ['b10', 'D']]) FakeWebSocket.last.receive(`m${place}\n"${text}"`);
  await pass(20_000);
  assert.deepEqual(log, [
    ['state', 'behind', undefined],
    ['message', 'A', 'k3-a6'],
    ['state', 'open', undefined],
    ['message', 'B', 'k3-a8'],
    ['message', 'not kept', 'k3-a8'],
    ['message', 'C', 'k3-a9'],
    ['message', 'D', 'k3-b10'],
  ]);
  assert.equal(FakeWebSocket.all.length, 4);
  FakeWebSocket.last.drop();
  await pass(1000);
  assert.equal(FakeWebSocket.all.length, 5, 'the count of attempts begins again');
  assert.equal(FakeWebSocket.last.url.searchParams.get('after'), 'k3-b10');
});

test('a WebSocket beside the stream reports a gap', async (t) => {
  const { room, server } = await fallBack(t, { after: 'k3-a5' });
  const log = record(room, 'message', 'gap');
  server.last.begin();
  server.last.control('k3-a7');
  await settle();
  FakeWebSocket.last.hello({ pos: 'm9-a2', gap: 'epoch' });
  FakeWebSocket.last.receive('ma3\nA');
  await settle();
  assert.deepEqual(log, [['gap', 'epoch', 'm9-a2'], ['message', 'A', 'm9-a3']]);
});

test('a WebSocket that does not open beside the stream changes nothing', async (t) => {
  for (const how of ['drops', 'hangs', 'does not speak dog.v1']) {
    await t.test(how, async (t) => {
      const { room, server } = await fallBack(t, { after: 'k3-a5' });
      server.last.begin();
      server.last.control('k3-a6');
      await settle();
      const log = record(room, 'state', 'message');
      const trial = FakeWebSocket.last;
      if (how === 'drops') trial.drop();
      if (how === 'does not speak dog.v1') trial.open('');
      if (how === 'does not speak dog.v1') assert.ok(trial.closed);
      await pass(20_000);
      server.last.data('A');
      server.last.control('k3-a7');
      await pass(10_000);
      assert.deepEqual(log, [['message', 'A', 'k3-a7']]);
      assert.equal(FakeWebSocket.all.length, 4, 'once in a stream');
      server.last.end();
      await settle();
      assert.ok(trial.closed || how === 'drops');
      await pass(250);
      server.last.begin();
      server.last.control('k3-a7');
      await settle();
      assert.equal(FakeWebSocket.all.length, 5, 'the next stream tries again');
    });
  }
});

test('closing ends the stream', async (t) => {
  const { room, server } = await fallBack(t);
  server.last.begin();
  server.last.control('k3-a1');
  await settle();
  assert.equal(FakeWebSocket.all.length, 4);
  room.close();
  await pass(600_000);
  assert.ok(server.last.aborted);
  assert.ok(FakeWebSocket.last.closed);
  assert.equal(server.requests.length, 1);
});

test('messages are posted one after the other, with session and number', async (t) => {
  const { room, server } = await fallBack(t, { post, token: 'secret' });
  const sent = ['A', { b: 1 }, 'C'].map((data) => follow(room.send(data)));
  const [stream] = server.requests;
  stream.begin();
  await settle();
  assert.equal(server.requests.length, 2);
  assert.equal(server.last.method, 'POST');
  assert.equal(server.last.body, 'A');
  const { session } = room;
  assert.deepEqual(Object.fromEntries(server.last.url.searchParams), { session, id: '1', token: 'secret' });
  server.last.answer(204);
  await settle();
  assert.equal(server.last.body, '{"b":1}');
  server.last.answer(422);
  await settle();
  assert.equal(server.last.url.searchParams.get('id'), '3');
  server.last.answer(200);
  await settle();
  assert.deepEqual(sent.map((s) => s.result), ['done', 'refused', 'done']);
  const bytes = follow(room.send(new Uint8Array([1, 2])));
  await settle();
  assert.deepEqual(server.last.body, new Uint8Array([1, 2]));
  server.last.answer(200);
  await settle();
  assert.equal(bytes.result, 'done');
});

test('a message that is too old for a POST is left out', async (t) => {
  const { room, server } = await fallBack(t, { post });
  const old = follow(room.send('old'));
  await settle();
  const now = Date.now();
  t.mock.method(Date, 'now', () => now + 61_000);
  const sent = follow(room.send('A'));
  server.requests[0].begin();
  await settle();
  assert.equal(old.result, 'expired');
  assert.equal(server.last.body, 'A');
  assert.equal(sent.result, 'pending');
});

test('a POST that came too soon or too often is sent again', async (t) => {
  for (const status of [408, 429, 500]) {
    await t.test(String(status), async (t) => {
      const { room, server } = await fallBack(t, { post });
      const sent = follow(room.send('A'));
      server.last.begin();
      await settle();
      server.last.answer(status);
      await settle();
      assert.equal(sent.result, 'pending');
      assert.equal(room.state, 'waiting');
    });
  }
});

test('a POST that fails is sent again with its number, by a WebSocket too', async (t) => {
  const { room, server } = await fallBack(t, { post });
  const sent = follow(room.send('A'));
  server.requests[0].begin();
  await settle();
  server.last.answer(503);
  await settle();
  assert.equal(room.state, 'waiting');
  assert.ok(server.requests[0].aborted);
  await pass(4000);
  server.last.begin();
  await settle();
  assert.equal(server.last.url.searchParams.get('id'), '1');
  server.last.fail();
  await settle();
  assert.equal(sent.result, 'pending');
  for (let i = 0; i < 40 && FakeWebSocket.all.length < 4; i++) {
    if (server.last.method === 'GET') server.last.fail();
    await pass(10_000);
  }
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, ['m1\nA']);
});

test('a POST that is refused after a WebSocket has delivered its message changes nothing', async (t) => {
  const { room, server } = await fallBack(t, { post });
  const first = follow(room.send('A'));
  server.last.begin();
  server.last.control('k3-a1');
  await settle();
  assert.equal(server.last.body, 'A');
  FakeWebSocket.last.hello({ pos: 'k3-a1', in: 1 });
  const second = follow(room.send('B'));
  server.last.answer(409);
  await settle();
  assert.deepEqual([first.result, second.result], ['done', 'pending']);
  FakeWebSocket.last.receive('a2');
  await settle();
  assert.equal(second.result, 'done');
});

test('without a URL for posts, messages wait for a WebSocket', async (t) => {
  const { room, server } = await fallBack(t);
  const sent = follow(room.send('A'));
  server.last.begin();
  await settle();
  assert.equal(server.requests.length, 1);
  await pass(60_000);
  assert.equal(sent.result, 'expired');
});

test('the position is kept after the handlers', async (t) => {
  const store = new MemoryStore();
  const { room, server } = await fallBack(t, { store, key: 'room', after: 'k3-a0' });
  let free = () => {};
  room.on('message', () => new Promise((resolve) => (free = resolve)));
  server.last.begin();
  server.last.data('A', 'B');
  server.last.control('k3-a2');
  await settle();
  free();
  await settle();
  assert.equal(store.get('room'), undefined);
  free();
  await settle();
  assert.equal(store.get('room'), 'k3-a2');
});
