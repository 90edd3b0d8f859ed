// dog-commands.js is dog.js for devices: its rooms also carry out the commands
// that the server has queued for them, one at a time and in order. README.md
// describes its use, and dog-commands.d.ts each option.

import { connect as open, cut, parse } from './dog.js';

export { DogError } from './dog.js';

const MORE = 10_000; // how often the server hears that a command is being carried out
const REMEMBERED = 1_000; // replies, for the case that they were lost
const COMMAND = /^c(\d{1,16}) (\w+) (\d{1,16}) (\d{1,16})( |$)/;

/**
 * @typedef {import('./dog-commands.d.ts').CommandOptions} Options
 * @typedef {{ epoch: string, number: number, before: number, expires: number, data: any }} Command
 */

export class Retry extends Error {
  constructor(reason = 'not now') {
    super(reason);
    this.name = 'Retry';
  }
}

/** @type {typeof import('./dog-commands.d.ts').connect} */
export function connect(url, options) {
  const { onCommand, store, json = true, WebSocket = globalThis.WebSocket } = options;
  const item = (options.key ?? 'dog:' + url) + ' command';
  if (!WebSocket) throw new TypeError('dog: there is no WebSocket; give one as an option');

  /** @type {WebSocket | undefined} */
  let socket; // whose server has greeted
  let { epoch = '', number: last = 0, reply = '' } = JSON.parse(store?.getItem(item) || '{}');
  const said = new Map([[last, reply]]); // what has been said about commands up to last
  /** @type {Command[]} */
  let queue = [];
  /** @type {Command | undefined} */
  let running;
  let closed = false;

  function say(/** @type {{ epoch: string, number: number }} */ command, /** @type {string} */ what) {
    // If it does not arrive, the server sends the command again.
    if (socket?.readyState === 1) socket.send(`r${command.number} ${command.epoch} ${what}`);
  }

  function take(/** @type {WebSocket} */ ws, /** @type {string | ArrayBuffer} */ frame) {
    const [header, payload] = cut(frame);
    if (header[0] === 'h') {
      socket = ws;
      ws.send('y');
    }
    const match = COMMAND.exec(header);
    if (!match || ws !== socket) return;
    const [number, left, before] = [match[1], match[3], match[4]].map(Number);
    if (match[2] !== epoch) {
      epoch = match[2];
      last = 0;
      said.clear();
      queue = [];
    }
    const command = { epoch, number, before, expires: Date.now() + left, data: payload };
    if (number <= last) return say(command, said.get(number) ?? 'done\n');
    if (running && running.epoch === epoch && running.number === number) return say(command, 'more');
    if (!before) queue = queue.filter((other) => other.number >= number); // the server has given up the others
    const known = [running, ...queue].some((other) => other && other.epoch === epoch && other.number === before);
    // One that does not follow those that are known will come again.
    if ((before > last && !known) || queue.length >= REMEMBERED || number <= (queue.at(-1)?.number ?? 0)) return;
    queue.push(command);
    if (!running) work();
  }

  async function work() {
    while (!closed && (running = queue.shift())) {
      const command = running;
      if (command.before > last) continue; // it follows one that was not carried out
      const what = command.expires > Date.now() ? await carryOut(command) : 'retry\nit has expired';
      running = undefined;
      if (closed || command.epoch !== epoch) continue;
      if (!what.startsWith('retry')) remember(command.number, what);
      say(command, what);
    }
  }

  /** @returns {Promise<string>} */
  async function carryOut(/** @type {Command} */ { epoch, number, expires, data }) {
    const more = () => {
      say({ epoch, number }, 'more');
      timer = setTimeout(more, MORE);
    };
    let timer = setTimeout(more, MORE);
    try {
      const value = json && typeof data === 'string' ? parse(data) : data;
      const result = await onCommand(value, { epoch, number, expires });
      const text = typeof result === 'string' ? result : JSON.stringify(result);
      return 'done\n' + (text ?? '');
    } catch (/** @type {any} */ error) {
      return `${error instanceof Retry ? 'retry' : 'fail'}\n${error?.message ?? error}`;
    } finally {
      clearTimeout(timer);
    }
  }

  function remember(/** @type {number} */ number, /** @type {string} */ reply) {
    last = number;
    said.set(number, reply);
    for (const old of said.keys()) if (said.size > REMEMBERED) said.delete(old);
    try {
      store?.setItem(item, JSON.stringify({ epoch, number, reply }));
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** @type {any} */
  const Commands = function (/** @type {string} */ address, /** @type {string[]} */ protocols) {
    const ws = new WebSocket(address, protocols);
    ws.addEventListener('message', ({ data }) => take(ws, data));
    return ws;
  };
  const room = open(url, { ...options, WebSocket: Commands });
  room.on('close', () => (closed = true));
  return room;
}
