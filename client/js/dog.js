// dog.js connects to a room of a dog server by the subprotocol dog.v1 and stays
// connected: it comes back after a break, continues where it was, and sends
// again what the server has not acknowledged. README.md describes its use, and
// dog.d.ts each option. It has no dependency and needs no build.

const PROTOCOL = 'dog.v1';
const ATTEMPT = 10_000; // an attempt fails after this time
const CALM = 10_000; // how long a connection lasts until earlier failures are forgotten
const SILENCE = 25_000; // until the client pings, unless the server names another time
const ANSWER = 10_000; // to a ping, until the connection counts as dead
const BACKOFF = 500; // the longest wait after the first failure
const MAX_BACKOFF = 30_000;
const MAX_WINDOW = 86_400_000; // the longest wait that a server can ask for
const HURRY = 1_000; // the longest wait once the network or the page is back
const ATTEMPTS = 3; // that do not open before SSE is tried
const MAX_AGE = 60_000;
const MAX_QUEUE = 1_000;
const MAX_QUEUED_BYTES = 1 << 20;
const MAX_TIMER = 2 ** 31 - 1; // a longer one would end at once
const SESSION = ' session'; // the name of its item in the store, after the key
const POSITION = /^(?!.{35})\w+-\w+$/;
const NUMBER = /^\d{1,16}$/;
const TOO_OLD = 'it could not be sent in time';

/**
 * @typedef {import('./dog.d.ts').Options} Options
 * @typedef {import('./dog.d.ts').Events} Events
 * @typedef {import('./dog.d.ts').State} State
 * @typedef {import('./dog.d.ts').Why} Why
 * @typedef {import('./dog.d.ts').DogError['code']} Code
 * @typedef {ReturnType<typeof setTimeout>} Timer
 * @typedef {string | null | undefined} Token
 * @typedef {{ v: number, pos?: string, gap?: string, in?: number, ping?: number, max?: number }} Hello
 *
 * @typedef {object} Item  A message that the server has not acknowledged.
 * @property {string | Uint8Array<ArrayBuffer>} payload
 * @property {number} size  of the payload in bytes
 * @property {number} id  its number; 0: it has not been sent
 * @property {number} since
 * @property {Timer} timer  ends when it is too old to be sent
 * @property {() => void} resolve
 * @property {(error: DogError) => void} reject
 *
 * @typedef {object} Link  An attempt to connect, and the connection that it becomes.
 * @property {boolean} [sse]
 * @property {Link} [beside]  the stream that a WebSocket is tried beside
 * @property {boolean} [open]  whether the server has greeted
 * @property {() => void} [stop]
 * @property {() => void} [flush]  sends what waits
 * @property {() => void} [ping]
 * @property {Timer} [life]  ends the attempt, or the connection if it is silent
 * @property {Timer} [calm]
 * @property {number} [silence]
 * @property {number} [max]  size of a frame in bytes
 * @property {string} [history]  the name of the history in its positions
 * @property {number[]} [window]  when to come back, in milliseconds
 */

export class DogError extends Error {
  constructor(/** @type {Code} */ code, /** @type {string} */ message, sent = false) {
    super('dog: ' + message);
    this.name = 'DogError';
    this.code = code;
    this.sent = sent;
  }
}

/** @type {typeof import('./dog.d.ts').connect} */
export function connect(url, options = {}) {
  const { window, document, location } = globalThis;
  const { token, store, json = true, maxAge = MAX_AGE } = options;
  const { WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
  const page = location?.href;
  const socketURL = new URL(url, page);
  socketURL.protocol = socketURL.protocol.replace('http', 'ws');
  const base = page ?? socketURL.href.replace('ws', 'http');
  const historyURL = options.history && new URL(options.history, base);
  const postURL = options.post && new URL(options.post, base);
  const key = options.key ?? 'dog:' + socketURL;
  if (!WebSocket && !historyURL) throw new TypeError('dog: no WebSocket; give one as an option');
  if (!/^[\w-]{8,64}$/.test(options.session ?? 'generated')) throw new TypeError('dog: malformed session');

  /** @type {State} */
  let state = 'waiting';
  /** @type {Link | undefined} */
  let link;
  /** @type {Timer | undefined} */
  let next; // attempt
  let mayHurry = false;
  let failures = 0; // since a connection lasted
  let unopened = 0; // WebSockets in a row
  let quiet = false; // a stream has ended as it does each minute: the next attempt is not worth an event

  let received = store?.getItem(key) || options.after; // after what has been received; undefined: now, '': before all
  let position = received ?? ''; // after what has been handled
  let begun = !!received;
  let tail = Promise.resolve(); // of what is handled, one message after the other
  let muted = false; // by close(): what has been received is not handled
  let ended = false;

  let parked = false; // the store has the session, for the page that comes after this one
  const [storedSession, storedID] = claim().split(' ');
  const session = options.session || storedSession || randomName();
  let lastID = session === storedSession ? +storedID : 0; // of the messages sent in the session
  /** @type {Item[]} */
  const queue = []; // those with a number come first
  let queuedBytes = 0;

  /** @type {Record<keyof Events, Set<(...args: any[]) => unknown>>} */
  const handlers = { message: new Set(), gap: new Set(), state: new Set(), close: new Set() };

  /** @type {import('./dog.d.ts').Room} */
  const room = {
    get state() {
      return state;
    },
    get position() {
      return position;
    },
    session,
    on(event, handler) {
      handlers[event].add(handler);
      return () => void handlers[event].delete(handler);
    },
    send,
    close() {
      muted = true;
      end({ code: 1000, reason: '' });
    },
    [Symbol.asyncIterator]: iterate,
  };

  // Connections.

  function attempt() {
    /** @type {Link} */
    const mine = { sse: !!historyURL && (!WebSocket || unopened >= ATTEMPTS) };
    link = mine;
    mine.life = setTimeout(() => lose(mine, 'no answer'), ATTEMPT);
    if (!quiet) setState('connecting');
    start(mine).catch((error) => lose(mine, error));
  }

  async function start(/** @type {Link} */ mine) {
    const text = typeof token === 'function' ? await token() : token;
    if (link === (mine.beside ?? mine)) await (mine.sse ? read(mine, text) : dial(mine, text));
  }

  function dial(/** @type {Link} */ mine, /** @type {Token} */ token) {
    const ws = new WebSocket(withQuery(socketURL, { after: received, session, token }), [PROTOCOL]);
    let sent = 0; // the greatest number on this connection
    ws.binaryType = 'arraybuffer';
    mine.stop = () => ws.close(1000);
    mine.ping = () => ws.send('p');
    mine.flush = () => {
      for (const item of [...queue]) {
        if ((item.id && item.id <= sent) || !prepare(item, mine.max)) continue;
        sent = item.id;
        ws.send(frame(item));
      }
    };
    ws.onopen = () => {
      if (ws.protocol === PROTOCOL) return;
      ws.close();
      lose(mine, 'it does not speak ' + PROTOCOL);
    };
    ws.onerror = () => {}; // a close follows
    ws.onclose = ({ code, reason }) => lose(mine, reason, code);
    ws.onmessage = ({ data }) => {
      if (link && link === mine.beside) drop(mine); // it takes the place of the stream
      if (mine !== link) return;
      try {
        alive(mine);
        take(mine, data);
      } catch (error) {
        lose(mine, error);
      }
    };
  }

  function take(/** @type {Link} */ mine, /** @type {string | ArrayBuffer} */ data) {
    const [header, payload] = cut(data);
    const kind = valid(/./, header)[0];
    const rest = header.slice(1);
    if (!mine.open) {
      valid(/h/, kind);
      greet(mine, JSON.parse(rest));
    } else if (kind === 'm') {
      const value = json && typeof payload === 'string' ? parse(payload) : payload;
      const after = rest ? valid(POSITION, mine.history + '-' + rest) : undefined;
      // The stream went on while the WebSocket opened.
      if (!mine.beside || !after || !received || after > received) receive(value, after);
    } else if (kind === 'g') {
      const { to, why } = JSON.parse(rest);
      move(mine, valid(POSITION, to), why);
    } else if (kind === 'a') {
      acknowledge(+valid(NUMBER, rest));
    } else if (kind === 'b') {
      const [min, max] = JSON.parse(rest).in;
      if (min >= 0 && max >= min) mine.window = [min, max];
    }
  }

  function greet(/** @type {Link} */ mine, /** @type {Hello} */ { v, pos = '', gap, in: last = 0, ping, max }) {
    if (v !== 1) throw new Error('unknown version ' + v);
    valid(NUMBER, last);
    mine.silence = ping;
    mine.max = max;
    unopened = 0;
    opened(mine);
    move(mine, gap || !mine.beside ? pos : (received ?? ''), gap);
    lastID = Math.max(lastID, last);
    acknowledge(last);
    mine.flush?.();
    setState('open');
  }

  // read receives messages by the read protocol of Durable Streams.
  async function read(/** @type {Link} */ mine, /** @type {Token} */ token) {
    const aborter = new AbortController();
    /** @type {Link | undefined} */
    let trial; // since a server that was away is no reason to do without WebSockets
    mine.stop = () => {
      aborter.abort();
      if (trial !== link) trial?.stop?.();
    };
    mine.flush = () => void postAll(mine, token).catch((error) => lose(mine, error));
    const offset = received ?? 'now';
    const url = withQuery(/** @type {URL} */ (historyURL), { offset: offset || '-1', live: 'sse', token });
    const response = await fetch(url, { cache: 'no-store', signal: aborter.signal });
    if (mine !== link) return;
    if (response.status === 410) {
      received = '';
      move(mine, '', 'expired');
    }
    if (!response.ok || !response.body) return refused(mine, response);
    if (offset === 'now' || !begun) move(mine, '', 'first');
    const wasQuiet = quiet;
    opened(mine);
    mine.flush();
    if (!wasQuiet) setState('behind');

    /** @type {any[]} */
    let batch = []; // until the position after it is known
    for await (const { event, data } of events(response.body)) {
      if (mine !== link) return;
      alive(mine);
      if (event === 'data') batch = batch.concat(JSON.parse(data));
      if (event !== 'control') continue;
      const { streamNextOffset, upToDate } = JSON.parse(data);
      batch.forEach((value, i) => receive(decode(value), i < batch.length - 1 ? '' : streamNextOffset));
      if (!batch.length) move(mine, streamNextOffset);
      batch = [];
      if (!upToDate) continue;
      enqueue(() => mine === link && setState('open'));
      if (WebSocket && !trial) start((trial = { beside: mine })).catch(() => {}); // the next stream tries again
    }
    lose(mine, 'the stream has ended', 1006, !failures);
  }

  function decode(/** @type {any} */ value) {
    if (typeof value?.$base64 === 'string') return Uint8Array.from(atob(value.$base64), (c) => c.charCodeAt(0)).buffer;
    return json || typeof value === 'string' ? value : JSON.stringify(value);
  }

  let posting = false;

  async function postAll(/** @type {Link} */ mine, /** @type {Token} */ token) {
    if (!postURL || posting) return;
    posting = true;
    try {
      for (let item; mine === link && (item = queue[0]); ) {
        if (!prepare(item)) continue;
        const url = withQuery(postURL, { session, id: item.id, token });
        const response = await fetch(url, { method: 'POST', body: item.payload, signal: AbortSignal.timeout(ATTEMPT) });
        const { ok, status } = response;
        if (ok) acknowledge(item.id);
        else if (status < 500 && status !== 408 && status !== 429) reject(item, 'refused', 'status ' + status);
        else refused(mine, response);
      }
    } finally {
      posting = false;
    }
  }

  function refused(/** @type {Link} */ mine, /** @type {Response} */ { status, headers }) {
    const wait = Number(headers.get('retry-after')) * 1000;
    if (wait > 0) {
      mine.window = [wait, wait];
      failures++;
    }
    lose(mine, 'status ' + status, status);
  }

  function opened(/** @type {Link} */ mine) {
    mine.open = begun = true;
    quiet = false;
    mine.calm = setTimeout(() => (failures = 0), CALM);
    alive(mine);
  }

  function alive(/** @type {Link} */ mine) {
    if (!mine.open) return;
    clearTimeout(mine.life);
    mine.life = setTimeout(probe, mine.silence || SILENCE, mine);
  }

  function probe(/** @type {Link} */ mine) {
    mine.ping?.();
    clearTimeout(mine.life);
    mine.life = setTimeout(() => lose(mine, 'no sign of life'), ANSWER);
  }

  function wake() {
    if (document?.visibilityState === 'hidden') return;
    if (link?.open && link.ping) probe(link); // it may have died in the meantime
    if (link || !mayHurry) return;
    mayHurry = false;
    schedule(Math.random() * HURRY);
  }

  function schedule(/** @type {number} */ wait) {
    clearTimeout(next);
    next = setTimeout(attempt, wait);
  }

  /** @param {Link} [to] */
  function drop(to) {
    const mine = link;
    link = to; // first, since stop may report the end at once
    clearTimeout(mine?.life);
    clearTimeout(mine?.calm);
    mine?.stop?.();
  }

  function lose(/** @type {Link} */ mine, /** @type {any} */ reason, code = 1006, silently = false) {
    if (mine !== link) return;
    const why = { code, reason: `${reason?.message ?? reason}` };
    if ((code >= 4000 && code < 4100) || [400, 401, 403, 404].includes(code)) return end(why);
    drop();
    // Where HTTP fails as well (410 is no failure), it is not the fault of WebSockets.
    if (!mine.open) unopened = mine.sse && code !== 410 ? ATTEMPTS - 1 : unopened + 1;
    const [min, max] = mine.window ?? [0, Math.min(MAX_BACKOFF, BACKOFF * 2 ** failures)];
    const wait = Math.min(min + Math.random() * (max - min), MAX_WINDOW);
    mayHurry = !mine.window;
    if (mayHurry) failures++; // otherwise the server has announced the end
    schedule(wait);
    quiet = silently;
    if (!quiet) setState('waiting', { ...why, wait });
  }

  function end(/** @type {Why} */ why) {
    if (state === 'closed') return;
    drop();
    clearTimeout(next);
    listen('removeEventListener');
    park();
    setState('closed', why);
    while (queue.length) reject(queue[0], muted ? 'closed' : 'refused', 'the room has closed');
    tail = tail.then(() => {
      ended = true;
      return emit('close', why);
    });
  }

  // Messages that come.

  /** @param {any} data @param {string} [after] */
  function receive(data, after) {
    if (after) received = after;
    enqueue(async () => {
      await emit('message', data, after ?? position);
      keep(after);
    });
  }

  // move continues at another position, before which messages may be missing.
  /** @param {Link} mine @param {string} to @param {string} [gap] */
  function move(mine, to, gap) {
    mine.history = to.split('-')[0];
    if (to) received = valid(POSITION, to);
    enqueue(async () => {
      if (gap) await emit('gap', gap, to);
      keep(to);
    });
  }

  /** @param {string} [after] */
  function keep(after) {
    if (!after) return;
    position = after;
    save('', after);
  }

  function enqueue(/** @type {() => unknown} */ step) {
    tail = tail.then(() => (muted ? undefined : step())).then(undefined, report);
  }

  async function* iterate() {
    if (ended) return;
    /** @type {(message?: { data: any, position: string, handled: () => void }) => void} */
    let deliver = () => {};
    const arrival = () => /** @type {Promise<Parameters<typeof deliver>[0]>} */ (new Promise((f) => (deliver = f)));
    let next = arrival();
    // A message comes when the one before has been handled, so there is room.
    const off = [
      room.on('message', (data, position) => new Promise((f) => deliver({ data, position, handled: () => f(0) }))),
      room.on('close', () => deliver()),
    ];
    try {
      for (let message; (message = await next); ) {
        next = arrival();
        const { handled, ...rest } = message;
        try {
          yield rest;
        } finally {
          handled();
        }
      }
    } finally {
      for (const f of off) f();
    }
  }

  // Messages that go.

  /** @returns {Promise<void>} */
  function send(/** @type {unknown} */ value) {
    return new Promise((resolve, fail) => {
      if (state === 'closed') throw new DogError('closed', 'the room has closed');
      const payload = encode(value);
      const size = typeof payload === 'string' ? new TextEncoder().encode(payload).length : payload.length;
      if (queue.length >= MAX_QUEUE || queuedBytes + size > MAX_QUEUED_BYTES) {
        throw new DogError('full', 'too many messages wait');
      }
      const timer = setTimeout(() => reject(item, 'expired', TOO_OLD), Math.min(maxAge, MAX_TIMER));
      const item = { payload, size, id: 0, since: Date.now(), timer, resolve, reject: fail };
      queue.push(item);
      queuedBytes += size;
      if (link?.open) link.flush?.();
    });
  }

  // prepare returns whether the item can be sent, and gives it a number.
  function prepare(/** @type {Item} */ item, max = Infinity) {
    if (!item.id && Date.now() - item.since > maxAge) return reject(item, 'expired', TOO_OLD);
    const id = item.id || lastID + 1;
    if (`m${id}\n`.length + item.size > max) return reject(item, 'large', 'the message is too large');
    clearTimeout(item.timer);
    item.id = id;
    lastID = Math.max(lastID, id);
    if (parked) park();
    return true;
  }

  function acknowledge(/** @type {number} */ id) {
    for (let item; (item = queue[0]) && item.id && item.id <= id; item.resolve()) remove(item);
  }

  function reject(/** @type {Item} */ item, /** @type {Code} */ code, /** @type {string} */ message) {
    remove(item);
    item.reject(new DogError(code, message, item.id > 0));
    return false;
  }

  function remove(/** @type {Item} */ item) {
    clearTimeout(item.timer);
    const place = queue.indexOf(item);
    if (place < 0) return; // a POST ends after a WebSocket has acknowledged its message
    queue.splice(place, 1);
    queuedBytes -= item.size;
  }

  // A session belongs to one page at a time: a tab that is duplicated with its
  // store must not use the numbers of the other. So it is in the store only
  // between two pages.
  function claim() {
    const name = store?.getItem(key + SESSION) ?? '';
    if (name) save(SESSION, '');
    parked = false;
    return name;
  }

  function park() {
    parked = true;
    save(SESSION, session + ' ' + lastID);
  }

  function save(/** @type {string} */ item, /** @type {string} */ value) {
    try {
      store?.setItem(key + item, value);
    } catch (error) {
      report(error);
    }
  }

  // Events.

  /** @param {State} to @param {Why & { wait?: number }} [why] */
  function setState(to, why) {
    if (to === state) return;
    state = to;
    emit('state', to, why);
  }

  async function emit(/** @type {keyof Events} */ event, /** @type {any[]} */ ...args) {
    for (const handler of [...handlers[event]]) {
      try {
        const result = handler(...args);
        if (result) await result;
      } catch (error) {
        report(error);
      }
    }
  }

  function listen(/** @type {'addEventListener' | 'removeEventListener'} */ change) {
    window?.[change]('online', wake);
    document?.[change]('visibilitychange', wake);
    window?.[change]('pagehide', park);
    window?.[change]('pageshow', claim);
  }

  listen('addEventListener');
  attempt();
  return room;
}

// valid returns a part of a frame that has the form it must have. No number is
// greater than those that are exact.
function valid(/** @type {RegExp} */ form, /** @type {any} */ value) {
  if (!form.test(value) || value >= 2 ** 53) throw new Error('malformed');
  return value;
}

function report(/** @type {unknown} */ error) {
  queueMicrotask(() => {
    throw error;
  });
}

function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(20)); // randomUUID needs https
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join('');
}

function withQuery(/** @type {URL} */ url, /** @type {Record<string, any>} */ query) {
  const result = new URL(url);
  for (const [name, value] of Object.entries(query)) {
    if (value != null) result.searchParams.set(name, value);
  }
  return result.href;
}

function encode(/** @type {unknown} */ value) {
  if (typeof value === 'string') return value;
  // Copies, since the program may reuse its buffer.
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (ArrayBuffer.isView(value)) {
    return Uint8Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
  const text = JSON.stringify(value);
  if (!text) throw new TypeError('dog: the value has no JSON form');
  return text;
}

// parse returns the value of a JSON text, or a text that is not JSON.
export function parse(/** @type {string} */ text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function frame(/** @type {Item} */ { id, payload }) {
  const header = `m${id}\n`;
  if (typeof payload === 'string') return header + payload;
  const bytes = new Uint8Array(header.length + payload.length);
  bytes.set(new TextEncoder().encode(header));
  bytes.set(payload, header.length);
  return bytes;
}

/** @returns {[header: string, payload: string | ArrayBuffer]} */
export function cut(/** @type {string | ArrayBuffer} */ data) {
  if (typeof data === 'string') {
    const [header] = data.split('\n', 1);
    return [header, data.slice(header.length + 1)];
  }
  const bytes = new Uint8Array(data);
  const length = bytes.indexOf(10) >>> 0; // beyond the end if there is none
  return [new TextDecoder().decode(bytes.subarray(0, length)), data.slice(length + 1)];
}

// events yields the events of a response of server-sent events.
async function* events(/** @type {ReadableStream<any>} */ body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (let chunk; !(chunk = await reader.read()).done; ) {
    const parts = (text + chunk.value).split(/\r?\n\r?\n/);
    text = /** @type {string} */ (parts.pop());
    for (const part of parts) {
      const fields = { event: '', data: '' };
      for (const line of part.split(/\r?\n/)) {
        const [, field, value] = /^(event|data): ?([^]*)/.exec(line) ?? [];
        if (field === 'event') fields.event = value;
        else if (field) fields.data += value + '\n';
      }
      yield fields;
    }
  }
}
