// What a device does with the commands of the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Retry, connect } from '../dog-commands.js';
import { FakeWebSocket, MemoryStore, pass, record, setUp, settle } from './fixture.js';

const EPOCH = 'k3f7q2ab7c2d';
const command = (number, body, { before = 0, left = 60_000, epoch = EPOCH } = {}) =>
  `c${number} ${epoch} ${left} ${before}\n${body}`;

/** Makes the room of a device that is connected, and records what it does. */
const device = async (t, options = {}) => {
  const done = [];
  const open = setUp(t);
  const onCommand = (data, info) => {
    done.push(data);
    return options.onCommand?.(data, info);
  };
  const start = async () => {
    const room = open({ ...options, onCommand }, undefined, connect);
    await settle();
    FakeWebSocket.last.hello();
    await settle();
    return room;
  };
  return { room: await start(), done, start };
};

/** Takes what the device has sent. */
const sent = async () => {
  await settle();
  return FakeWebSocket.last.sent.splice(0);
};

const again = async () => {
  FakeWebSocket.last.drop();
  await pass(30_000);
  FakeWebSocket.last.hello();
};

test('commands are carried out one at a time, and their results are the replies', async (t) => {
  const waiting = [];
  const { room, done } = await device(t, {
    onCommand: (data) => new Promise((resolve) => waiting.push(() => resolve(data.reply))),
  });
  const log = record(room, 'message');
  assert.deepEqual(await sent(), ['y']);
  const ws = FakeWebSocket.last;
  ws.receive(command(1, '{"reply":"text"}'));
  ws.receive(command(2, '{"reply":{"n":1}}', { before: 1 }));
  ws.receive(command(3, '{}', { before: 2 }));
  await settle();
  assert.equal(done.length, 1);
  const replies = [];
  while (waiting.length) {
    waiting.shift()();
    replies.push(...(await sent()));
  }
  assert.deepEqual(replies, [`r1 ${EPOCH} done\ntext`, `r2 ${EPOCH} done\n{"n":1}`, `r3 ${EPOCH} done\n`]);
  assert.deepEqual(log, []);
});

test('a failure is told, and Retry asks for the command again before those after it', async (t) => {
  let busy = true;
  const { done } = await device(t, {
    onCommand: (data) => {
      if (data === 'bad') throw new Error('jammed');
      if (data === 'later' && busy) throw new Retry('busy');
    },
  });
  await sent();
  const ws = FakeWebSocket.last;
  ws.receive(command(1, 'bad'));
  ws.receive(command(2, 'later', { before: 1 }));
  ws.receive(command(3, 'next', { before: 2 }));
  assert.deepEqual(await sent(), [`r1 ${EPOCH} fail\njammed`, `r2 ${EPOCH} retry\nbusy`]);
  ws.receive(command(4, 'on its way', { before: 3 }));
  busy = false;
  ws.receive(command(2, 'later'));
  ws.receive(command(3, 'next', { before: 2 }));
  await settle();
  assert.deepEqual(done, ['bad', 'later', 'later', 'next']);
});

test('a command whose reply was lost is answered again, also after a restart', async (t) => {
  const store = new MemoryStore();
  const { room, done, start } = await device(t, { store, onCommand: (data) => data + '!' });
  FakeWebSocket.last.receive(command(1, 'a'));
  await settle();
  await again();
  await sent();
  FakeWebSocket.last.receive(command(1, 'a'));
  assert.deepEqual(await sent(), [`r1 ${EPOCH} done\na!`]);
  room.close();
  await start();
  await sent();
  FakeWebSocket.last.receive(command(1, 'a'));
  assert.deepEqual(await sent(), [`r1 ${EPOCH} done\na!`]);
  FakeWebSocket.last.receive(command(1, 'b', { epoch: 'aaaaaaaaaaaa' }));
  assert.deepEqual(await sent(), ['r1 aaaaaaaaaaaa done\nb!']);
  assert.deepEqual(done, ['a', 'b']);
});

test('long work is told, and survives a break', async (t) => {
  let finish;
  const { done } = await device(t, { onCommand: () => new Promise((resolve) => (finish = resolve)) });
  await sent();
  FakeWebSocket.last.receive(command(1, 'long'));
  await pass(10_000);
  assert.deepEqual(await sent(), [`r1 ${EPOCH} more`]);
  await again();
  FakeWebSocket.last.receive(command(1, 'long'));
  const after = await sent();
  assert.equal(after[0], 'y');
  assert.equal(after[1], `r1 ${EPOCH} more`);
  finish('ok');
  assert.deepEqual(await sent(), [`r1 ${EPOCH} done\nok`]);
  assert.deepEqual(done, ['long']);
});

test('what has expired is not begun, and what is malformed is ignored', async (t) => {
  let finish;
  const { done } = await device(t, {
    onCommand: (data) => data === 'slow' && new Promise((resolve) => (finish = () => resolve(''))),
  });
  await sent();
  const ws = FakeWebSocket.last;
  ws.receive(command(1, 'slow'));
  ws.receive(command(2, 'urgent', { before: 1, left: 5_000 }));
  ws.receive(command(3, 'next', { before: 2 }));
  for (const bad of ['c', 'c7', 'c7 e', `c8 ${EPOCH} x 3\n`, `c9 ${EPOCH} 1`]) ws.receive(bad);
  await pass(6_000);
  await sent();
  finish();
  assert.deepEqual(await sent(), [`r1 ${EPOCH} done\n`, `r2 ${EPOCH} retry\nit has expired`]);
  ws.receive(command(3, 'next'));
  await settle();
  assert.deepEqual(done, ['slow', 'next']);
});

test('nothing is done after close', async (t) => {
  let finish;
  const { room, done } = await device(t, { onCommand: () => new Promise((resolve) => (finish = () => resolve(''))) });
  const ws = FakeWebSocket.last;
  ws.receive(command(1, 'a'));
  ws.receive(command(2, 'b', { before: 1 }));
  await sent();
  room.close();
  await settle();
  finish();
  await settle();
  assert.deepEqual(done, ['a']);
  assert.deepEqual(ws.sent, []);
});
