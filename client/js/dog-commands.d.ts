import type { Options, Room } from './dog.d.ts';

export { DogError } from './dog.js';

/** Opens the room of a device, as `connect` of dog.js does, and carries out the commands that the server has for it. */
export function connect(url: string | URL, options: CommandOptions): Room;

/** What identifies a command. Numbers grow within an epoch. */
export interface CommandInfo {
  epoch: string;
  number: number;
  /** It must not be begun later, in milliseconds since 1970. */
  expires: number;
}

export interface CommandOptions extends Options {
  /**
   * Carries out a command: the value of its JSON, or else its text, or an ArrayBuffer. The next one waits for its promise.
   * Its result is the reply: a string, or a value with a JSON form, or nothing. An error means that the command cannot be
   * carried out; a `Retry`, that it is to come again later.
   */
  onCommand: (command: any, info: CommandInfo) => unknown;
}

/** Asks the server to send a command again later. Other commands wait. */
export class Retry extends Error {
  constructor(reason?: string);
}
