// Helpers of the tests: a WebSocket and a server of HTTP that the test plays,
// a store, and rooms with a virtual clock and waits without chance.
import { mock } from 'node:test';
import { connect } from '../dog.js';

/** Lets everything happen that needs no time. */
export const settle = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
};

/** Lets time pass, in steps, so that what the handlers start is served as well. */
export const pass = async (ms) => {
  await settle();
  for (let left = ms; left > 0; left -= 250) {
    mock.timers.tick(Math.min(left, 250));
    await settle();
  }
};

export class FakeWebSocket {
  static all = [];
  static get last() {
    return FakeWebSocket.all.at(-1);
  }
  sent = [];
  closed = false;
  listeners = []; // of messages

  addEventListener(type, listener) {
    if (type === 'message') this.listeners.push(listener);
  }
  get readyState() {
    return this.closed ? 3 : this.protocol ? 1 : 0;
  }

  constructor(url, protocols) {
    Object.assign(this, { url: new URL(url), protocols, protocol: '' });
    FakeWebSocket.all.push(this);
  }
  send(data) {
    if (!this.protocol) throw new Error('sent before it was open');
    this.sent.push(typeof data === 'string' ? data : Buffer.from(data));
  }
  close() {
    this.closed = true;
  }

  // What the server does.
  open(protocol = 'dog.v1') {
    this.protocol = protocol;
    this.onopen?.({});
  }
  hello(fields = {}) {
    this.open();
    this.receive('h' + JSON.stringify({ v: 1, pos: 'k3-a0', gap: '', in: 0, ping: 25000, max: 65536, ...fields }));
  }
  receive(data) {
    for (const listener of this.listeners) listener({ data });
    this.onmessage?.({ data });
  }
  drop(code = 1006, reason = '') {
    this.onerror?.({});
    this.onclose?.({ code, reason });
  }
  get messages() {
    return this.sent.filter((data) => data !== 'p');
  }
}

export class MemoryStore extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    this.set(key, value);
  }
}

/**
 * Makes rooms for one test. Its clock stands still until pass, and each random
 * wait is half of the longest one.
 */
export const setUp = (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  t.mock.method(Math, 'random', () => 0.5);
  FakeWebSocket.all = [];
  const rooms = [];
  t.after(() => {
    mock.timers.reset();
    for (const room of rooms) room.close();
  });
  return (options = {}, url = 'wss://example.com/room', open = connect) => {
    const room = open(url, { WebSocket: FakeWebSocket, ...options });
    room.on('gap', () => {});
    rooms.push(room);
    return room;
  };
};

/** Records the events of a room. */
export const record = (room, ...events) => {
  const log = [];
  for (const event of events) room.on(event, (...args) => void log.push([event, ...args]));
  return log;
};

/** Follows a promise: result is "pending", "done", or the code of the error. */
export const follow = (promise) => {
  const followed = { result: 'pending', error: undefined };
  promise.then(
    () => (followed.result = 'done'),
    (error) => Object.assign(followed, { result: error.code ?? error.name, error }),
  );
  return followed;
};

/** Handlers of the events of a page, in place of a browser. */
export const fakePage = (t) => {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  Object.assign(globalThis, { window, document });
  t.after(() => {
    delete globalThis.window;
    delete globalThis.document;
  });
  return { window, document, fire: (target, type) => target.dispatchEvent(new Event(type)) };
};

/** A server of HTTP: fetch waits until the test answers it. */
export class FakeServer {
  requests = [];
  fetch = (url, init = {}) =>
    new Promise((resolve, reject) => {
      const request = { url: new URL(url), method: init.method ?? 'GET', body: init.body, aborted: false };
      init.signal?.addEventListener('abort', () => {
        request.aborted = true;
        reject(init.signal.reason);
        request.stream?.error(init.signal.reason);
      });
      request.answer = (status, headers = {}) => resolve(new Response(null, { status, headers }));
      request.fail = () => reject(new TypeError('network'));
      request.begin = () => {
        const body = new ReadableStream({ start: (controller) => (request.stream = controller) });
        resolve(new Response(body, { headers: { 'content-type': 'text/event-stream' } }));
      };
      request.write = (text) => request.aborted || request.stream.enqueue(new TextEncoder().encode(text));
      request.data = (...values) => request.write(`event: data\ndata:${JSON.stringify(values)}\n\n`);
      request.control = (position, upToDate = true) =>
        request.write(
          `event: control\nid: ${position}\ndata:${JSON.stringify({ streamNextOffset: position, upToDate })}\n\n`,
        );
      request.end = () => request.stream.close();
      this.requests.push(request);
    });
  get last() {
    return this.requests.at(-1);
  }
}
