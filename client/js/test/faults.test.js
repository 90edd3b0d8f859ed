// The table of faults, which drives the Go client as well. A server plays each
// scenario and judges: see "about" in the table. DOG_FAULTS has the URLs of two
// servers, separated by a space. The first makes all times so short that a busy
// machine may be late. What fails there is played by the second one, which takes
// more time, and alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../dog.js';

const servers = process.env.DOG_FAULTS?.split(' ') ?? [];

const { setTimeout, Date } = globalThis;
const { now } = Date;
const began = now();

/** Scales the times of dog.js, and takes the chance out of its waits. */
const useTimeOf = ({ scale, random }) => {
  globalThis.setTimeout = (f, ms, ...args) => setTimeout(f, ms * scale, ...args);
  Date.now = () => began + (now() - began) / scale;
  Math.random = () => random;
};

const until = async (condition, what) => {
  const start = Date.now();
  while (!condition()) {
    assert.ok(Date.now() - start < 30 * 60_000, 'waiting for ' + what);
    await new Promise((resolve) => globalThis.setTimeout(resolve, 100));
  }
};

const play = async ({ url }, scenario) => {
  const room = connect(new URL(scenario.name, url), { ...scenario.client, json: false });
  try {
    await drive(room, scenario, new URL(scenario.name + '/verdict', url));
  } finally {
    room.close();
  }
};

const drive = async (room, { app = [], ...expected }, verdictURL) => {
  const seen = [];
  const sent = [];
  const states = [room.state];
  let final;
  let done = false;
  room.on('message', (data, position) => {
    if (typeof data === 'string') seen.push({ message: data, position });
    else seen.push({ binary: Buffer.from(data).toString('base64'), position });
  });
  room.on('gap', (gap, position) => {
    if (gap !== 'first') seen.push({ gap, from: room.position, position });
  });
  room.on('state', (state) => done || states.push(state));
  room.on('close', ({ code, reason }) => {
    if (!done) final = { ...(code < 1000 ? { status: code } : { code }), ...(expected.final?.reason && { reason }) };
  });

  let had = 0;
  for (const step of app) {
    if ('send' in step) {
      const message = { data: step.send, settled: false };
      sent.push(message);
      const settle = (error) => Object.assign(message, { settled: true, error: error?.code });
      room.send(step.send).then(() => settle(), settle);
    } else if ('seen' in step) {
      await until(() => seen.length >= step.seen, `${step.seen} to be seen`);
    } else if ('state' in step) {
      await until(() => states.indexOf(step.state, had) >= 0, 'the state ' + step.state);
      had = states.indexOf(step.state, had) + 1;
    } else {
      await new Promise((resolve) => globalThis.setTimeout(resolve, step.delay));
    }
  }
  const verdict = await (await fetch(verdictURL)).json();
  assert.deepEqual(verdict, { ok: true });
  await until(() => sent.every((message) => message.settled), 'what was sent to be settled');
  await until(() => seen.length >= (expected.seen ?? []).length, 'all to be seen');
  if (expected.final) await until(() => final, 'the close');
  done = true;

  // The table leaves out what is empty.
  const whole = (event) => (event.gap || event.binary ? event : { message: '', ...event });
  assert.deepEqual(seen, (expected.seen ?? []).map(whole));
  assert.deepEqual(
    sent.map(({ data, error }) => ({ data, ...(error && { error }) })),
    expected.sent ?? [],
  );
  if (expected.states) assert.deepEqual(states, expected.states);
  assert.deepEqual(final, expected.final);
};

test('the table of faults', { skip: !servers.length && 'no DOG_FAULTS: go test ./client runs this' }, async (t) => {
  const [fast, slow] = await Promise.all(servers.map(async (url) => ({ url, ...(await (await fetch(url)).json()) })));
  // Browsers and Node do not show why a handshake was refused.
  const scenarios = fast.scenarios.filter(({ needs }) => !needs?.includes('status'));
  assert.ok(scenarios.length > 50);

  const errors = new Map();
  useTimeOf(fast);
  const next = scenarios.values();
  const worker = async () => {
    for (const scenario of next) await play(fast, scenario).catch((error) => errors.set(scenario, error));
  };
  await Promise.all(Array.from({ length: 4 }, worker));

  if (slow) useTimeOf(slow);
  for (const scenario of scenarios) {
    await t.test(scenario.name, async (t) => {
      const error = errors.get(scenario);
      if (error && !slow) throw error;
      if (error) t.diagnostic('played again, since at first: ' + error.message);
      if (error) await play(slow, scenario);
    });
  }
});
