// What a room hands to the program, and what it sends for it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DogError } from '../dog.js';
import { FakeWebSocket, MemoryStore, fakePage, follow, pass, record, setUp, settle } from './fixture.js';

const bytes = (text) => new TextEncoder().encode(text).buffer;

test('a message is the value of its JSON, or its text, or its bytes', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'message');
  await settle();
  const ws = FakeWebSocket.last;
  ws.hello({ pos: 'k3-a0' });
  const frames = ['ma1\n{"n":1}', 'ma2\nhi\nthere', 'ma3\n', 'm\n7', 'm', bytes('ma4\n\n\0'), bytes('m')];
  for (const data of frames) ws.receive(data);
  await settle();
  assert.deepEqual(log, [
    ['message', { n: 1 }, 'k3-a1'],
    ['message', 'hi\nthere', 'k3-a2'],
    ['message', '', 'k3-a3'],
    ['message', 7, 'k3-a3'],
    ['message', '', 'k3-a3'],
    ['message', bytes('\n\0'), 'k3-a4'],
    ['message', bytes(''), 'k3-a4'],
  ]);
});

test('json: false leaves texts as they are', async (t) => {
  const room = setUp(t)({ json: false });
  const log = record(room, 'message');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('m\n{"n":1}');
  await settle();
  assert.deepEqual(log, [['message', '{"n":1}', 'k3-a0']]);
});

test('handlers run one after the other, and the position is kept after them', async (t) => {
  const store = new MemoryStore();
  const room = setUp(t)({ store, key: 'room' });
  const log = [];
  const waiting = [];
  room.on('message', (data) => {
    log.push('first ' + data);
    return new Promise((resolve) => waiting.push(resolve));
  });
  const off = room.on('message', (data) => void log.push('second ' + data));
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  await settle();
  assert.deepEqual(log, ['first A']);
  assert.equal(store.get('room'), 'k3-a0');
  waiting.shift()();
  await settle();
  assert.deepEqual(log, ['first A', 'second A', 'first B']);
  assert.equal(store.get('room'), 'k3-a1');
  assert.equal(room.position, 'k3-a1');
  off();
  waiting.shift()();
  await settle();
  assert.deepEqual(log, ['first A', 'second A', 'first B', 'second B'], 'off does not interrupt a message');
  FakeWebSocket.last.receive('ma3\nC');
  await settle();
  waiting.shift()();
  await settle();
  assert.deepEqual(log.slice(4), ['first C']);
  assert.equal(store.get('room'), 'k3-a3');
});

test('an error of a handler is reported, and stops nothing', async (t) => {
  const errors = [];
  t.mock.method(globalThis, 'queueMicrotask', (f) => {
    try {
      f();
    } catch (error) {
      errors.push(error.message);
    }
  });
  const room = setUp(t)();
  room.on('message', () => {
    throw new Error('thrown');
  });
  room.on('message', async () => {
    throw new Error('rejected');
  });
  const log = record(room, 'message');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  await settle();
  assert.deepEqual(errors, ['thrown', 'rejected']);
  assert.equal(log.length, 1);
  assert.equal(room.position, 'k3-a1');
});

test('a store that fails is reported, and stops nothing', async (t) => {
  const errors = [];
  t.mock.method(globalThis, 'queueMicrotask', (f) => {
    try {
      f();
    } catch (error) {
      errors.push(error.message);
    }
  });
  const store = new MemoryStore();
  const room = setUp(t)({ store, key: 'room' });
  store.setItem = () => {
    throw new Error('full');
  };
  const log = record(room, 'message', 'close');
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  await settle();
  const sent = follow(room.send('x'));
  room.close();
  await settle();
  assert.deepEqual(log.map(([event]) => event), ['message', 'close']);
  assert.equal(sent.result, 'closed');
  assert.deepEqual(new Set(errors), new Set(['full']));
});

test('it comes back with what it has received, although the handlers are behind', async (t) => {
  const store = new MemoryStore();
  const room = setUp(t)({ store, key: 'room' });
  const log = [];
  let free = () => {};
  room.on('message', (data) => (log.push(data), new Promise((resolve) => (free = resolve))));
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  FakeWebSocket.last.drop();
  await pass(250);
  assert.equal(FakeWebSocket.last.url.searchParams.get('after'), 'k3-a2');
  assert.equal(store.get('room'), 'k3-a0');
  FakeWebSocket.last.hello({ pos: 'k3-a2' });
  FakeWebSocket.last.receive('ma3\nC');
  for (let i = 0; i < 3; i++) {
    await settle();
    free();
  }
  await settle();
  assert.deepEqual(log, ['A', 'B', 'C']);
  assert.equal(store.get('room'), 'k3-a3');
});

test('gaps are handled in the order of messages, and name where these go on', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'message', 'gap');
  await settle();
  FakeWebSocket.last.hello({ pos: 'k3-a5', gap: 'first' });
  FakeWebSocket.last.receive('ma6\nA');
  FakeWebSocket.last.receive('g{"from":"k3-a6","to":"m4-b17","why":"slow"}');
  FakeWebSocket.last.receive('mb18\nB');
  await settle();
  assert.deepEqual(log, [
    ['gap', 'first', 'k3-a5'],
    ['message', 'A', 'k3-a6'],
    ['gap', 'slow', 'm4-b17'],
    ['message', 'B', 'm4-b18'],
  ]);
});

test('messages wait for the handler of a gap, so a snapshot comes before them', async (t) => {
  const room = setUp(t)();
  const log = [];
  let loaded = () => {};
  room.on('gap', async () => {
    await new Promise((resolve) => (loaded = resolve));
    log.push('snapshot');
  });
  room.on('message', (data) => log.push(data));
  await settle();
  FakeWebSocket.last.hello({ gap: 'first' });
  FakeWebSocket.last.receive('ma1\nA');
  await settle();
  assert.equal(room.position, '');
  loaded();
  await settle();
  assert.deepEqual(log, ['snapshot', 'A']);
});

test('it leaves a server of another version, and reports it', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'state', 'gap', 'message');
  await settle();
  for (const v of [2, undefined]) {
    FakeWebSocket.last.hello({ v, gap: 'first' });
    assert.ok(FakeWebSocket.last.closed);
    assert.deepEqual(log.at(-1).slice(0, 2), ['state', 'waiting']);
    assert.equal(log.at(-1)[2].reason, 'unknown version ' + v);
    await pass(10_000);
  }
  assert.deepEqual(
    log.filter(([event]) => event !== 'state'),
    [],
  );
});

test('a message that arrives while the room closes is not handled', async (t) => {
  const store = new MemoryStore();
  const room = setUp(t)({ store, key: 'room' });
  const log = [];
  room.on('message', (data) => {
    log.push(data);
    room.close();
  });
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  await settle();
  assert.deepEqual(log, ['A']);
  assert.equal(store.get('room'), 'k3-a1');
});

test('what came before a final close is handled before the close', async (t) => {
  const room = setUp(t)();
  const log = [];
  room.on('message', async (data) => {
    await settle();
    log.push(data);
  });
  room.on('close', ({ code }) => log.push(code));
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  FakeWebSocket.last.drop(4002);
  for (let i = 0; i < 4; i++) await settle();
  assert.deepEqual(log, ['A', 'B', 4002]);
});

test('an iterator yields messages until the room closes, and keeps the position after its body', async (t) => {
  const room = setUp(t)();
  const log = [];
  const positions = [];
  const loop = (async () => {
    for await (const { data, position } of room) {
      positions.push(room.position);
      log.push([data, position]);
    }
    log.push('end');
  })();
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  FakeWebSocket.last.drop(4001);
  await loop;
  assert.deepEqual(log, [['A', 'k3-a1'], ['B', 'k3-a2'], 'end']);
  assert.deepEqual(positions, ['k3-a0', 'k3-a1']);
  assert.equal(room.position, 'k3-a2');
  for await (const message of room) assert.fail(message);
});

test('an iterator that is left lets the room go on', async (t) => {
  const room = setUp(t)();
  const log = record(room, 'message');
  const loop = (async () => {
    for await (const message of room) return message;
  })();
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma1\nA');
  FakeWebSocket.last.receive('ma2\nB');
  assert.deepEqual(await loop, { data: 'A', position: 'k3-a1' });
  await settle();
  assert.equal(log.length, 2);
  assert.equal(room.position, 'k3-a2');
});

test('an iterator that waits ends when the room closes', async (t) => {
  const room = setUp(t)();
  const next = room[Symbol.asyncIterator]().next();
  await settle();
  room.close();
  assert.deepEqual(await next, { value: undefined, done: true });
});

test('strings go as text, buffers as bytes, and everything else as JSON', async (t) => {
  const room = setUp(t)();
  const buffer = new Uint8Array([1, 10, 255, 3]);
  for (const value of ['text\n', { a: [1] }, null, buffer.subarray(1, 3), buffer.buffer]) follow(room.send(value));
  buffer.fill(0); // they were copied
  const wrong = follow(room.send(undefined));
  await settle();
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, [
    'm1\ntext\n',
    'm2\n{"a":[1]}',
    'm3\nnull',
    Buffer.from('m4\n\x0a\xff', 'latin1'),
    Buffer.from('m5\n\x01\x0a\xff\x03', 'latin1'),
  ]);
  assert.equal(wrong.result, 'TypeError');
});

test('messages wait for the hello, and are acknowledged by their numbers', async (t) => {
  const room = setUp(t)();
  const sent = ['A', 'B', 'C'].map((data) => follow(room.send(data)));
  await settle();
  FakeWebSocket.last.open();
  assert.deepEqual(FakeWebSocket.last.sent, []);
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, ['m1\nA', 'm2\nB', 'm3\nC']);
  for (const ack of ['a2', 'a1', 'a', 'ax']) FakeWebSocket.last.receive(ack);
  await settle();
  assert.deepEqual(sent.map((s) => s.result), ['done', 'done', 'pending']);
});

test('what the hello does not count is sent again, with its number, before what is new', async (t) => {
  const room = setUp(t)();
  const sent = ['A', 'B', 'C'].map((data) => follow(room.send(data)));
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.drop();
  follow(room.send('D'));
  await pass(250);
  FakeWebSocket.last.hello({ in: 1 });
  assert.deepEqual(FakeWebSocket.last.sent, ['m2\nB', 'm3\nC', 'm4\nD']);
  await settle();
  assert.deepEqual(sent.map((s) => s.result), ['done', 'pending', 'pending']);
  FakeWebSocket.last.drop();
  await pass(500);
  FakeWebSocket.last.hello({ in: 0 }); // the server has forgotten the session
  assert.deepEqual(FakeWebSocket.last.sent, ['m2\nB', 'm3\nC', 'm4\nD']);
});

test('numbers go on after those of a session that the program names', async (t) => {
  const room = setUp(t)({ session: 'session-of-the-program' });
  await settle();
  assert.equal(FakeWebSocket.last.url.searchParams.get('session'), 'session-of-the-program');
  FakeWebSocket.last.hello({ in: 57 });
  follow(room.send('A'));
  assert.deepEqual(FakeWebSocket.last.sent, ['m58\nA']);
});

test('the queue is bounded by 1,000 messages and by 1 MiB, until they are acknowledged', async (t) => {
  const join = setUp(t);
  let room = join();
  const sent = Array.from({ length: 1001 }, (_, i) => follow(room.send(String(i))));
  await settle();
  assert.equal(sent[999].result, 'pending');
  assert.equal(sent[1000].result, 'full');
  assert.ok(sent[1000].error instanceof DogError);
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('a1');
  const more = [follow(room.send('1001')), follow(room.send('1002'))];
  await settle();
  assert.deepEqual(more.map((s) => s.result), ['pending', 'full']);
  assert.equal(FakeWebSocket.last.sent.length, 1001);

  room = join();
  const again = follow(room.send(new Uint8Array(1 << 20)));
  await settle();
  FakeWebSocket.last.hello({ max: 2 << 20 });
  FakeWebSocket.last.receive('a1');
  follow(room.send(new Uint8Array(1 << 20)));
  await settle();
  assert.equal(again.result, 'done');
  assert.equal(FakeWebSocket.last.sent.length, 2);

  room = join();
  const large = ['é'.repeat(1 << 18), new Uint8Array(1 << 19), 'x', ''].map((data) => follow(room.send(data)));
  await settle();
  assert.deepEqual(large.map((s) => s.result), ['pending', 'pending', 'full', 'pending']);
});

test('a message that could not be sent for maxAge is rejected and never sent', async (t) => {
  const room = setUp(t)({ maxAge: 5000 });
  const sent = follow(room.send('A'));
  await pass(4999);
  assert.equal(sent.result, 'pending');
  await pass(1);
  assert.equal(sent.result, 'expired');
  assert.equal(sent.error.sent, false);
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, []);
});

test('a message does not age once it has been sent', async (t) => {
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.hello();
  const sent = follow(room.send('A'));
  FakeWebSocket.last.receive('b{"in":[3600000,3600000]}');
  FakeWebSocket.last.drop();
  await pass(3_600_000);
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, ['m1\nA']);
  FakeWebSocket.last.receive('a1');
  await settle();
  assert.equal(sent.result, 'done');
});

test('after a sleep, in which no timer runs, a message is too old all the same', async (t) => {
  const room = setUp(t)();
  const sent = follow(room.send('A'));
  await settle();
  t.mock.method(Date, 'now', () => 1_000_000 + 600_000);
  FakeWebSocket.last.hello();
  await settle();
  assert.equal(sent.result, 'expired');
  assert.deepEqual(FakeWebSocket.last.sent, []);
});

test('a clock that is set back makes no message older', async (t) => {
  const room = setUp(t)();
  follow(room.send('A'));
  await settle();
  t.mock.method(Date, 'now', () => 0);
  FakeWebSocket.last.hello();
  assert.deepEqual(FakeWebSocket.last.sent, ['m1\nA']);
});

test('an endless maxAge is one', async (t) => {
  const room = setUp(t)({ maxAge: Infinity });
  const sent = follow(room.send('A'));
  await pass(120_000);
  assert.equal(sent.result, 'pending');
});

test('a message that the server does not accept is rejected, with its header counted', async (t) => {
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.hello({ max: 10 });
  const sent = ['1234567', '12345678', '1234567'].map((data) => follow(room.send(data)));
  await settle();
  assert.deepEqual(sent.map((s) => s.result), ['pending', 'large', 'pending']);
  assert.deepEqual(FakeWebSocket.last.sent, ['m1\n1234567', 'm2\n1234567']);
});

test('closing rejects what is not acknowledged, and tells whether it was sent', async (t) => {
  const room = setUp(t)();
  await settle();
  FakeWebSocket.last.hello();
  const sent = follow(room.send('A'));
  FakeWebSocket.last.drop();
  const unsent = follow(room.send('B'));
  room.close();
  const late = follow(room.send('C'));
  await settle();
  assert.deepEqual([sent, unsent, late].map((s) => [s.result, s.error.sent]), [
    ['closed', true],
    ['closed', false],
    ['closed', false],
  ]);
});

test('position and session are continued from the store', async (t) => {
  const join = setUp(t);
  const store = new MemoryStore();
  const first = join({ store });
  await settle();
  FakeWebSocket.last.hello();
  FakeWebSocket.last.receive('ma7\nA');
  follow(first.send('A'));
  await settle();
  first.close();

  const second = join({ store, after: 'k3-a1' });
  await settle();
  assert.equal(second.position, 'k3-a7');
  assert.equal(FakeWebSocket.last.url.searchParams.get('after'), 'k3-a7');
  assert.equal(second.session, first.session);
  FakeWebSocket.last.hello({ pos: 'k3-a7', in: 0 }); // m1 is still on its way
  follow(second.send('B'));
  assert.deepEqual(FakeWebSocket.last.sent, ['m2\nB']);
});

test('a tab that is duplicated with its store gets a session of its own', async (t) => {
  const join = setUp(t);
  const store = new MemoryStore();
  join({ store }).close();
  const original = join({ store });
  const duplicate = join({ store: new MemoryStore(store) });
  assert.notEqual(original.session, duplicate.session);
});

test('a page that goes leaves its session to the next, or takes it back', async (t) => {
  const page = fakePage(t);
  const join = setUp(t);
  const store = new MemoryStore();
  const room = join({ store });
  await settle();
  FakeWebSocket.last.hello();
  page.fire(page.window, 'pagehide');
  follow(room.send('last words'));
  const next = join({ store: new MemoryStore(store) });
  await settle();
  assert.equal(next.session, room.session);
  FakeWebSocket.last.hello();
  follow(next.send('A'));
  assert.deepEqual(FakeWebSocket.last.sent, ['m2\nA'], 'after the number of the last words');

  page.fire(page.window, 'pageshow');
  follow(room.send('back'));
  assert.notEqual(join({ store: new MemoryStore(store) }).session, room.session);
});

test('two rooms do not share their items in a store', async (t) => {
  const join = setUp(t);
  const store = new MemoryStore();
  join({ store }, 'wss://example.com/a');
  await settle();
  FakeWebSocket.last.hello({ pos: 'k3-a7' });
  await settle();
  assert.equal(join({ store }, 'wss://example.com/b').position, '');
  assert.equal(join({ store }, 'wss://example.com/a').position, 'k3-a7');
});
