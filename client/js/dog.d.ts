/** Opens a room, and keeps it open until `close` or a final answer of the server. */
export function connect(url: string | URL, options?: Options): Room;

export interface Options {
  /** The query parameter `token`, or a function that returns it before each attempt; if it fails, so does the attempt. */
  token?: string | (() => string | null | undefined | Promise<string | null | undefined>);
  /** The name under which messages take effect once: 8 to 64 letters, digits, `-` or `_`. Default: from the store, or random. */
  session?: string;
  /** Keeps the position and the session, such as `sessionStorage`. Default: nothing is kept. */
  store?: Store;
  /** The prefix of the items in the store. Default: `dog:` and the URL. Two rooms that are open at once need two. */
  key?: string;
  /** Where to begin if the store has no position: a position, or '' for all that is kept. Default: new messages only. */
  after?: string;
  /** After how many milliseconds `send` rejects a message that could not be sent yet. Default: 60,000. */
  maxAge?: number;
  /** Whether texts that are JSON become values. Default: true. */
  json?: boolean;
  /** The URL of the room's history, which is read by SSE if WebSockets do not open. Default: no fall-back. */
  history?: string | URL;
  /** The URL to which messages are posted while the history is read by SSE. Default: they wait for a WebSocket. */
  post?: string | URL;
  /** The class of WebSockets. Default: `globalThis.WebSocket`. */
  WebSocket?: new (url: string, protocols: string[]) => WebSocket;
  /** Default: `globalThis.fetch`. */
  fetch?: typeof fetch;
}

export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** `behind`: reads the history over HTTP, and some missed messages have not come yet. `waiting`: for the next attempt. */
export type State = 'connecting' | 'open' | 'behind' | 'waiting' | 'closed';

/** Why messages are missing. `first`: the client had no position, so load what it should begin with. */
export type GapReason = 'first' | 'expired' | 'epoch' | 'ahead' | 'slow' | (string & {});

/**
 * A close code of the WebSocket, or the status of a response; 1006 if there is neither. 4001 with the reason `replaced`:
 * a newer connection of the same user has taken over.
 */
export interface Why {
  code: number;
  reason: string;
}

/** A message in an async iterator: see the event `message`. */
export interface Message {
  data: any;
  position: string;
}

export interface Events {
  /**
   * A message: the value of its JSON, or else its text, or an ArrayBuffer. The position is the one after it, '' if there
   * is none. The next message waits for the promise of an async handler, and so does keeping the position.
   */
  message: (data: any, position: string) => unknown;
  /** Messages are missing; the following ones come after position. The next message waits for the handler, as above. */
  gap: (reason: GapReason, position: string) => unknown;
  /** The state has changed; `closed` has the reason, and `waiting` also for how many milliseconds. */
  state: (state: State, why?: Why & { wait?: number }) => unknown;
  /** The room has closed for good, and all messages have been handled; after `room.close()` the code is 1000. */
  close: (why: Why) => unknown;
}

export interface Room extends AsyncIterable<Message> {
  readonly state: State;
  /** The position after the last message that was handled; '' if there is none. */
  readonly position: string;
  readonly session: string;
  /** Adds a handler and returns a function that removes it. An error of a handler becomes an uncaught one. */
  on<E extends keyof Events>(event: E, handler: Events[E]): () => void;
  /**
   * Sends a string as text, an ArrayBuffer or view as binary, any other value as JSON. Resolves when the server has
   * handled the message and what it stored is durable. Rejects with a DogError.
   */
  send(value: unknown): Promise<void>;
  /** Closes the room. Messages that the server has not acknowledged are rejected. */
  close(): void;
}

/** Why a message was not acknowledged. */
export class DogError extends Error {
  /**
   * `full`: 1,000 messages or 1 MiB wait. `expired`: not sent within maxAge. `large`: larger than the server accepts.
   * `refused`: the server has closed the room for good, or does not accept the POST. `closed`: by `close`.
   */
  readonly code: 'full' | 'expired' | 'large' | 'refused' | 'closed';
  /** Whether the message may have reached the server. */
  readonly sent: boolean;
  constructor(code: DogError['code'], message: string, sent?: boolean);
}

/** @internal What dog-commands.js uses. It may change at any time. */
export function parse(text: string): any;
/** @internal */
export function cut(data: string | ArrayBuffer): [header: string, payload: string | ArrayBuffer];
