// @ts-check
/**
 * A ratchet worker in Node: one file, no dependencies, Node 18.14 or later on Unix.
 *
 *     import { Worker } from './ratchet-worker.mjs';
 *
 *     await new Worker('resizer', { version: '2.1' })
 *       .task('resize', { hint: 'host_exclusive', cacheable: true }, async (call) => {
 *         call.progress(1, 2);
 *         return { path: call.input.path };
 *       })
 *       .run();
 *
 * The return value of a handler, or the value of its promise, is the result. An exception fails that one request.
 * Throw `new TaskError('not_found', 'no such file', { retryable: false })` to set a code and whether to retry.
 * `call.signal` is an AbortSignal that fires when the host cancels the request.
 *
 * A handler that computes and never awaits blocks the only thread of Node. Until it returns, the worker answers
 * no ping and sees no cancel, and the host may take it for hung. For such handlers use
 * `new Worker(name, { blocking: true })`: then the worker declares neither capability.
 *
 * Stray prints cannot break the conversation. It moves to new descriptors, which child processes do not inherit.
 * Then file descriptor 1 is stderr, and 0 is empty. That holds for `console.log`, for native addons and for child
 * processes. Node can move a descriptor only by opening its name again, which fails for sockets and for files of
 * another user. Such a worker reports on stderr that its conversation stays where it is. Then only the prints of
 * JavaScript are kept out of it, and children must not get its stdin or stdout (`stdio: 'inherit'`). ratchet itself
 * gives its workers pipes.
 *
 * A worker ends when its host has no more work, even if a timer is still active.
 */

import { isUtf8 } from 'node:buffer';
import fs from 'node:fs';
import net from 'node:net';
import process from 'node:process';
import { Writable } from 'node:stream';

const PROTOCOL = 1;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

// Requests wait as unparsed lines, so requests that are sent ahead take no more than their bytes. Beyond this
// limit nothing is read until a request is taken up, and only then pings and cancels are late.
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
// What a waiting request takes beside its line.
const WAITING_BYTES = 512;
// While the host has more than this to read, nothing is read that would have to be answered.
const MAX_UNSENT_BYTES = 1024 * 1024;
// How often handlers that never await leave the thread to the conversation.
const TURN_MS = 5;
// The time that remaining work has after serving has ended.
const EXIT_MS = 1000;

// The longest id. In a message that is too long to be kept, the id is found only within this many bytes.
const HEAD_BYTES = 1024;
// The answer if no other error can be encoded.
const UNSAYABLE = '{"code":"exception","message":"the task failed, and its error cannot be sent"}';

/** @typedef {(call: Call) => unknown} Handler */
/**
 * @typedef {object} Declaration
 * @property {string | object} [hint] how parallel the task may be, as in a job file
 * @property {boolean} [cacheable] the same input always gives the same result
 * @property {string} [description] the description of the task, for people
 */
/**
 * @typedef {object} Options
 * @property {string} [version] the worker's own version, which is part of the key of cached results
 * @property {number} [concurrency] the number of requests that are worked on at the same time (1)
 * @property {boolean} [blocking] whether handlers block the thread, so that the worker declares neither pings nor cancels
 * @property {number} [maxMessageBytes] the largest size of a message in either direction (16 MiB)
 */

/** The reason why a request failed, for programs (`code`) and for people (`message`). */
export class TaskError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retryable?: boolean, retryAfterMs?: number, data?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = 'TaskError';
    this.code = code;
    this.retryable = more.retryable;
    this.retryAfterMs = more.retryAfterMs;
    this.data = more.data;
  }

  toJSON() {
    const delay = this.retryAfterMs;
    return {
      code: String(this.code),
      message: String(this.message),
      retryable: this.retryable == null ? undefined : Boolean(this.retryable),
      // A delay that is no number counts as none.
      retry_after_ms: Number.isFinite(delay)
        ? Math.min(Math.max(0, Math.round(Number(delay))), Number.MAX_SAFE_INTEGER)
        : undefined,
      data: this.data,
    };
  }
}

/** A request that a handler works on. */
export class Call {
  /** @param {Worker} worker @param {string} id the id as JSON @param {any} request */
  constructor(worker, id, request) {
    /** @type {string} */ this.task = request.task;
    /** @type {any} */ this.input = request.input ?? null;
    /** @type {number} */ this.attempt = request.attempt ?? 1;
    // An optional field that is null counts as absent.
    /** @type {number | undefined} */ this.timeoutMs = request.timeout_ms ?? undefined;
    /** @type {string | undefined} */ this.host = request.host ?? undefined;
    /** @type {string | undefined} */ this.key = request.key ?? undefined;
    /** @type {number | undefined} */ this.slot = request.slot ?? undefined;
    /**
     * The resources that the attempt holds, by name: a list of identities, or a number.
     * @type {Record<string, number | (number | string)[]>}
     */
    this.resources = request.resources ?? {};
    /** @type {string | undefined} */ this.traceparent = request.traceparent ?? undefined;
    /** @type {boolean} */ this.check = request.check ?? false;
    /** @type {boolean} */ this.diff = request.diff ?? false;
    this._worker = worker;
    this._id = id;
    /** @type {AbortController | undefined} */ this._controller = undefined;
    this._cancelled = false;
  }

  /** The id of this attempt. A number is returned as it was spelled. @returns {string} */
  get id() {
    return this._id.startsWith('"') ? JSON.parse(this._id) : this._id;
  }

  /** Fires when the host cancels the request. */
  get signal() {
    this._controller ??= new AbortController();
    if (this._cancelled) this._controller.abort();
    return this._controller.signal;
  }

  /**
   * Reports how far the work has got, which also resets the no-progress timer.
   * @param {number} [done] @param {number} [total] @param {string} [message]
   */
  progress(done, total, message) {
    this._worker._tell('progress', this._id, {
      done: Number.isFinite(done) ? done : undefined,
      total: Number.isFinite(total) ? total : undefined,
      message: message == null ? undefined : String(message),
    });
  }

  /**
   * Logs a message for the user who runs the job.
   * @param {string} message @param {'trace' | 'debug' | 'info' | 'warn' | 'error'} [level]
   */
  log(message, level = 'info') {
    this._worker._tell('log', this._id, { level: String(level), message: String(message) });
  }

  _cancel() {
    this._cancelled = true;
    this._controller?.abort();
  }
}

/** A worker: its tasks and its hello. */
export class Worker {
  /** @param {string} name @param {Options} [options] */
  constructor(name, options = {}) {
    this.name = name;
    this.version = options.version;
    this.concurrency = whole('concurrency', options.concurrency ?? 1);
    this.blocking = options.blocking ?? false;
    this.maxMessageBytes = whole('maxMessageBytes', options.maxMessageBytes ?? MAX_MESSAGE_BYTES);
    /** @type {Map<string, Handler>} */ this._handlers = new Map();
    /** @type {Record<string, Declaration>} */ this._declarations = Object.create(null);
    /** @type {(() => unknown) | undefined} */ this._preparation = undefined;
    /** @type {{ id: string, line: string, bytes: number }[]} */ this._waiting = [];
    this._next = 0; // Where the queue begins: shift() would copy it all.
    this._waitingBytes = 0;
    this._running = 0;
    /** Calls that a cancel can still reach. @type {Set<Call>} */ this._calls = new Set();
    this._ready = false;
    this._ended = false;
    this._over = false;
    this._yielding = false;
    this._turn = 0;
    this._dropped = 0;
    /** @type {Error | undefined} */ this._failure = undefined;
    /** @type {() => void} */ this._finish = () => {};
    /** @type {Writable | undefined} */ this._output = undefined;
    /** @type {import('node:stream').Readable | undefined} */ this._input = undefined;
    this._written = () => this._onWritten();
  }

  /**
   * Adds a task, and replaces one of the same name.
   * @param {string} name @param {Declaration | Handler} declaration @param {Handler} [handler]
   */
  task(name, declaration, handler) {
    if (typeof declaration === 'function') {
      return this.task(name, {}, declaration);
    }
    if (typeof handler !== 'function') {
      throw new TypeError(`the task ${name} has no handler`);
    }
    this._handlers.set(name, handler);
    this._declarations[name] = declaration;
    return this;
  }

  /**
   * Sets work to do before the first request, such as loading a model.
   * @param {() => unknown} preparation
   */
  prepare(preparation) {
    this._preparation = preparation;
    return this;
  }

  /**
   * Takes over stdin and stdout, and serves until the host has no more work.
   *
   * The promise resolves when all answers are written. It rejects if the preparation failed, if the host went away
   * before it had its answers, or if reading from it failed. Then the process ends when nothing else is left to do,
   * and after a second in any case, with `process.exitCode`.
   */
  async run() {
    const hello = event('hello', undefined, this._hello());
    const { input, output } = takeStdio();
    this._input = input;
    this._output = output;
    try {
      const served = new Promise((resolve) => {
        this._finish = () => resolve(undefined);
      });
      output.on('error', (error) => this._lose(error));
      readLines(input, this.maxMessageBytes, {
        line: (line, dropped) => this._take(line, dropped),
        idle: () => {
          this._turn = performance.now();
          this._start();
        },
        end: (error) => this._end(error),
      });
      this._write(hello);
      if (this._preparation) {
        await this._preparation();
        this._write(event('ready'));
      }
      this._ready = true;
      this._start();
      await served;
      if (this._failure) throw this._failure;
    } catch (error) {
      process.exitCode ||= 1;
      throw error;
    } finally {
      this._over = true;
      input.destroy();
      setTimeout(() => process.exit(), EXIT_MS).unref();
    }
  }

  _hello() {
    const capabilities = this.blocking ? ['progress', 'drain'] : ['cancel', 'progress', 'ping', 'drain'];
    if (this._preparation) capabilities.push('ready');
    return {
      protocol: [PROTOCOL],
      name: this.name,
      version: this.version,
      concurrency: this.concurrency,
      capabilities,
      tasks: this._declarations,
    };
  }

  // Input.

  /** @param {Buffer} bytes @param {number} dropped the length of the line, if only its beginning is left */
  _take(bytes, dropped) {
    const line = bytes.toString('utf8');
    const fields = sniff(line);
    const id = fields.type === '"request"' ? fields.id : undefined;
    if (!dropped && !isUtf8(bytes)) {
      const told = bytes.toString('latin1');
      // Text that was not UTF-8 cannot be returned.
      if (id === undefined || id.includes('\ufffd')) return this._complain('not UTF-8', told);
      const text = `not UTF-8: ${told.slice(0, HEAD_BYTES)}`;
      return this._write(this._errorReply(id, new TaskError('malformed', text, FINAL)));
    }
    if (dropped) {
      const text = `the message has ${dropped} bytes, and no more than ${this.maxMessageBytes} may be sent`;
      // Text that was not UTF-8 cannot be returned.
      if (id === undefined || id.includes('\ufffd')) return this._complain(text, line);
      return this._write(this._errorReply(id, new TaskError('message_too_large', text, FINAL)));
    }
    if (id === undefined) return this._takeEvent(line, fields);
    // It is parsed when its turn comes.
    const cost = bytes.length + WAITING_BYTES;
    this._waiting.push({ id, line, bytes: cost });
    this._waitingBytes += cost;
    return undefined;
  }

  /** @param {string} line @param {Record<string, string>} fields */
  _takeEvent(line, { id, nonce }) {
    if (/^[ \t\r]*$/.test(line)) return undefined;
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return this._complain('not JSON', line);
    }
    if (message?.type === 'request') {
      return this._complain('a request without an id that is text or a number', line);
    }
    if (message?.type !== 'event') return this._complain('not a message to a worker', line);
    if (message.event === 'drain') return this._end();
    if (message.event === 'ping' && nonce !== undefined) {
      return this._write(`{"type":"event","event":"pong","nonce":${nonce}}\n`);
    }
    if (message.event === 'cancel' && id !== undefined) return this._cancel(id);
    if (message.event === 'ping' || message.event === 'cancel') {
      return this._complain(`a ${message.event} that does not say of what`, line);
    }
    return undefined;
  }

  /** @param {string} id */
  _cancel(id) {
    for (const call of this._calls) {
      if (call._id === id) call._cancel();
    }
    const kept = [];
    for (const asked of this._waiting.slice(this._next)) {
      if (asked.id === id) {
        this._waitingBytes -= asked.bytes;
        this._write(this._errorReply(id, new TaskError('cancelled', 'cancelled before it began')));
      } else {
        kept.push(asked);
      }
    }
    this._waiting = kept;
    this._next = 0;
  }

  /** @param {string} what @param {string} line */
  _complain(what, line) {
    this._tell('log', undefined, { level: 'error', message: `${what}: ${line.slice(0, 200)}` });
  }

  /** Expects no more requests. Those that came are still answered. @param {Error} [failure] */
  _end(failure) {
    this._ended = true;
    this._failure ??= failure;
    this._start();
  }

  /** The host is gone: it reads no more answers and sends no more requests. @param {Error} error */
  _lose(error) {
    if (this._over) return;
    this._over = true;
    this._failure ??= error;
    for (const call of this._calls) call._cancel();
    this._finish();
  }

  // Work.

  /** Starts requests, reads on if there is room, and ends if there is nothing left. */
  _start() {
    if (!this._ready || this._over) return this._balance();
    while (this._running < this.concurrency && !this._unsent && this._next < this._waiting.length) {
      if (performance.now() - this._turn > TURN_MS) {
        // The next batch begins after the input of the host was read.
        this._yield();
        break;
      }
      const asked = this._waiting[this._next];
      this._waiting[this._next] = TAKEN;
      this._next += 1;
      if (this._next > 1024 && this._next * 2 > this._waiting.length) {
        this._waiting.splice(0, this._next);
        this._next = 0;
      }
      this._waitingBytes -= asked.bytes;
      this._running += 1;
      void this._handle(asked.id, asked.line);
    }
    this._balance();
    if (this._ended && this._running === 0 && this._next === this._waiting.length && !this._over) {
      this._tellDropped();
      this._over = true;
      this._output?.end((/** @type {Error | null | undefined} */ error) => {
        this._failure ??= error ?? undefined;
        this._finish();
      });
    }
    return undefined;
  }

  _yield() {
    if (this._yielding) return;
    this._yielding = true;
    setImmediate(() => {
      this._yielding = false;
      this._turn = performance.now();
      this._start();
    });
  }

  _balance() {
    const full = this._waitingBytes > MAX_WAITING_BYTES || this._unsent > MAX_UNSENT_BYTES;
    if (full) this._input?.pause();
    else if (this._input?.isPaused()) this._input.resume();
  }

  /** @param {string} id @param {string} line */
  async _handle(id, line) {
    if (this.concurrency > 1) this._write(event('started', id));
    const reply = await this._answer(id, line);
    this._running -= 1;
    this._write(reply);
    this._start();
  }

  /** Makes the one reply to a request, whatever its handler does. @param {string} id @param {string} line */
  async _answer(id, line) {
    let call;
    try {
      call = new Call(this, id, readRequest(line));
      const handler = this._handlers.get(call.task);
      if (!handler) {
        const known = [...this._handlers.keys()].sort().join(', ');
        const message = `there is no task \`${call.task}\` here${known ? `; known: ${known}` : ', nor any other'}`;
        throw new TaskError('unknown_task', message, FINAL);
      }
      this._calls.add(call);
      const reply = response(id, 'result', encode(await handler(call)));
      const bytes = Buffer.byteLength(reply);
      if (bytes <= this.maxMessageBytes) return reply;
      const text = `the reply has ${bytes} bytes, and no more than ${this.maxMessageBytes} may be sent`;
      return this._errorReply(id, new TaskError('message_too_large', text, FINAL));
    } catch (error) {
      return this._errorReply(id, asTaskError(error, call?._cancelled ?? false));
    } finally {
      if (call) this._calls.delete(call);
    }
  }

  /** @param {string} id @param {TaskError} error */
  _errorReply(id, error) {
    for (const short of [false, true]) {
      try {
        const body = error.toJSON();
        if (short) {
          body.data = undefined;
          body.message = `${body.message.slice(0, HEAD_BYTES)} (not all of this error can be sent)`;
        }
        const reply = response(id, 'error', encode(body));
        if (Buffer.byteLength(reply) <= this.maxMessageBytes) return reply;
      } catch {
        // A getter or a toString may throw anything, so the answer says less.
      }
    }
    return response(id, 'error', UNSAYABLE);
  }

  // Output. Every line is flushed at once, because the next request may block this thread for an hour.

  /** The number of bytes that the host has not read. */
  get _unsent() {
    return this._output?.writableLength ?? 0;
  }

  /**
   * Sends an event. Its text is cut, or the event is dropped, if there is no room for it.
   * @param {string} name @param {string | undefined} id @param {any} fields
   */
  _tell(name, id, fields) {
    if (this._unsent > 0) {
      this._dropped += 1;
      return;
    }
    let line = event(name, id, fields);
    if (Buffer.byteLength(line) > this.maxMessageBytes) {
      // A character takes at most six bytes, and the fields around the text less than this.
      const room = Math.max(0, Math.floor((this.maxMessageBytes - 2 * HEAD_BYTES) / 6));
      line = event(name, id, { ...fields, message: `${fields.message?.slice(0, room)} (cut)` });
      if (Buffer.byteLength(line) > this.maxMessageBytes) return;
    }
    this._write(line);
  }

  _tellDropped() {
    if (this._dropped === 0) return;
    const message = `${this._dropped} progress and log events were dropped: they came faster than they were read`;
    this._dropped = 0;
    this._write(event('log', undefined, { level: 'warn', message }));
  }

  /** @param {string} line */
  _write(line) {
    if (!this._over) this._output?.write(line, this._written);
  }

  _onWritten() {
    if (this._unsent > 0 || this._over) return;
    this._tellDropped();
    // Most lines are written at once, and then nothing has to wait.
    if (this._next < this._waiting.length || this._input?.isPaused()) this._start();
  }
}

const FINAL = { retryable: false };
/** Replaces a request that was taken up, so that its line is freed. */
const TAKEN = { id: '', line: '', bytes: 0 };

/** @param {string} name @param {number} value */
function whole(name, value) {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new RangeError(`${name} must be a whole number of at least 1`);
}

/** @param {string} id @param {'result' | 'error'} name @param {string} value */
function response(id, name, value) {
  return `{"type":"response","id":${id},"${name}":${value}}\n`;
}

/** @param {string} name @param {string} [id] @param {object} [fields] */
function event(name, id, fields = {}) {
  const inner = JSON.stringify(fields).slice(1, -1);
  return `{"type":"event","event":"${name}"${id === undefined ? '' : `,"id":${id}`}${inner && `,${inner}`}}\n`;
}

/** @param {unknown} value */
function encode(value) {
  if (value === undefined) return 'null';
  const json = JSON.stringify(value);
  if (json === undefined) throw new TypeError(`the result is a ${typeof value}, which is not JSON`);
  // JSON.stringify writes null for NaN and the infinities. Only then the value has to be checked again.
  if (json.includes('null')) JSON.stringify(value, refuseNonFinite);
  return json;
}

/** @param {string} _key @param {unknown} value */
function refuseNonFinite(_key, value) {
  const number = value instanceof Number ? Number(value) : value;
  if (typeof number === 'number' && !Number.isFinite(number)) {
    throw new TypeError(`the result holds ${number}, which is not JSON`);
  }
  return value;
}

/** @param {string} line */
function readRequest(line) {
  let request;
  try {
    request = JSON.parse(line);
  } catch (error) {
    throw new TaskError('malformed', `not JSON that can be read: ${describe(error)}`, FINAL);
  }
  if (typeof request?.task === 'string') return request;
  throw new TaskError('malformed', 'a request without a task', FINAL);
}

/** @param {unknown} error @param {boolean} cancelled */
function asTaskError(error, cancelled) {
  try {
    if (error instanceof TaskError) return error;
  } catch {
    // It is a proxy whose prototype cannot be read, so it cannot be printed either.
  }
  if (cancelled) return new TaskError('cancelled', 'cancelled by the host');
  return new TaskError('exception', describe(error));
}

/** @param {unknown} error */
function describe(error) {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return 'something was thrown that cannot be printed';
  }
}

const SNIFFED = new Set(['type', 'id', 'event', 'nonce']);
// The form in which every host writes a request.
const USUAL = /^\{"type":"request","id":("[0-9A-Za-z_-]{0,99}")[,}]/;
const MARK = /["{}[\]]/g;
const STRING_END = /["\\]/g;
const SCALAR =
  // eslint-disable-next-line no-control-regex
  /[ \t\r]*:[ \t\r]*("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?=[ \t\r]*[,}])/y;

/**
 * Returns the top-level texts and numbers of a message, as they are spelled.
 *
 * The message need not be complete or valid. A value that cannot be an id is left out.
 * @param {string} line @returns {Record<string, string>}
 */
function sniff(line) {
  const usual = USUAL.exec(line);
  if (usual) return { type: '"request"', id: usual[1] };
  /** @type {Record<string, string>} */ const found = {};
  let depth = 0;
  let at = 0;
  /** @param {RegExp} mark */
  const find = (mark) => {
    mark.lastIndex = at;
    const hit = mark.exec(line);
    if (hit) at = mark.lastIndex;
    return hit?.[0];
  };
  for (;;) {
    const mark = find(MARK);
    if (mark === undefined) return found;
    if (mark === '{' || mark === '[') depth += 1;
    else if (mark === '}' || mark === ']') depth -= 1;
    else {
      const start = at;
      let end = find(STRING_END);
      while (end === '\\') {
        at += 1;
        end = find(STRING_END);
      }
      if (end === undefined) return found;
      const name = line.slice(start, at - 1);
      if (depth !== 1 || !SNIFFED.has(name) || name in found) continue;
      // Cut off, so that text of many megabytes is not tried as an id.
      const rest = line.slice(at, at + HEAD_BYTES);
      SCALAR.lastIndex = 0;
      const scalar = SCALAR.exec(rest)?.[1];
      if (scalar === undefined) continue;
      // One spelling for one text, so that a cancel finds its request; numbers stay as they came.
      found[name] = scalar.includes('\\') ? JSON.stringify(JSON.parse(scalar)) : scalar;
      if (found.id !== undefined && found.type === '"request"') return found;
    }
  }
}

/**
 * Calls back with each line, or with the head of one that was too long and its length; `idle` comes
 * when there is nothing more to be had at once.
 * @param {import('node:stream').Readable} input @param {number} limit
 * @param {{ line: (line: Buffer, dropped: number) => void, idle: () => void, end: (error?: Error) => void }} to
 */
function readLines(input, limit, to) {
  /** @type {Buffer[]} */ let rest = [];
  let length = 0;
  /** @param {Buffer} piece */
  const keep = (piece) => {
    rest.push(piece);
    length += piece.length;
    if (length > limit) rest = [Buffer.concat(rest).subarray(0, HEAD_BYTES)];
  };
  const cut = () => {
    const line = rest.length === 1 ? rest[0] : Buffer.concat(rest);
    const dropped = length > limit ? length : 0;
    rest = [];
    length = 0;
    to.line(line, dropped);
  };
  input.on('data', (/** @type {Buffer} */ chunk) => {
    let start = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, start)) {
      keep(chunk.subarray(start, at));
      cut();
      start = at + 1;
    }
    if (start < chunk.length) keep(chunk.subarray(start));
    to.idle();
  });
  let over = false;
  /** @param {Error} [error] */
  const finish = (error) => {
    if (over) return;
    over = true;
    if (length > 0) cut();
    to.end(error);
  };
  input.on('end', () => finish());
  input.on('error', finish);
}

const { O_APPEND, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants;

/** Moves the conversation to descriptors that no child inherits, as far as that can be done. */
function takeStdio() {
  // Node has no dup2. Opening a descriptor's own name makes another one for the same pipe, and a
  // descriptor that was closed is the first to be given out again.
  /** @type {string[]} */ const stays = [];
  const inFd = reopen(0, O_RDONLY | streamFlags(0));
  if (inFd === undefined) stays.push('stdin');
  else replace(0, '/dev/null', O_RDONLY);
  const outFd = reopen(1, appendFlags(1) | streamFlags(1));
  const errFd = reopen(2, appendFlags(2));
  if (errFd !== undefined) fs.closeSync(errFd);
  if (outFd === undefined || errFd === undefined) {
    if (outFd !== undefined) fs.closeSync(outFd);
    stays.push('stdout');
  } else {
    replace(1, fdPath(2), appendFlags(2));
  }
  // What JavaScript prints goes to stderr in any case.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  if (stays.length > 0) {
    const names = stays.join(' and ');
    process.stderr.write(`ratchet-worker: ${names} cannot be moved; children must not inherit them\n`);
  }
  return {
    input: readable(inFd ?? 0),
    output: writable(stays.includes('stdout') ? 1 : Number(outFd)),
  };
}

/** @param {number} fd */
function fdPath(fd) {
  return process.platform === 'linux' ? `/proc/self/fd/${fd}` : `/dev/fd/${fd}`;
}

/** A file is appended to: opened again, it would be written from its beginning. @param {number} fd */
function appendFlags(fd) {
  return fs.fstatSync(fd).isFile() ? O_WRONLY | O_APPEND : O_WRONLY;
}

/** A named pipe whose other end is gone would be waited for. @param {number} fd */
function streamFlags(fd) {
  return fs.fstatSync(fd).isFIFO() ? O_NONBLOCK : 0;
}

/** @param {number} fd @param {number} flags */
function reopen(fd, flags) {
  try {
    return fs.openSync(fdPath(fd), flags);
  } catch {
    // A socket has no name to be opened by, and another user's pipe must not be opened.
    return undefined;
  }
}

/** @param {number} fd @param {string} path @param {number} flags */
function replace(fd, path, flags) {
  fs.closeSync(fd);
  const opened = fs.openSync(path, flags);
  if (opened !== fd) {
    throw new Error(`file descriptor ${fd} was taken by somebody else (${opened})`);
  }
}

/** @param {number} fd */
function isStream(fd) {
  const kind = fs.fstatSync(fd);
  return kind.isFIFO() || kind.isSocket();
}

/** @param {number} fd @returns {import('node:stream').Readable} */
function readable(fd) {
  if (isStream(fd)) return new net.Socket({ fd, readable: true, writable: false });
  return fs.createReadStream('', { fd });
}

/** @param {number} fd @returns {Writable} */
function writable(fd) {
  if (isStream(fd)) return new net.Socket({ fd, readable: false, writable: true });
  // Files and terminals: what is written to them is there at once.
  return new Writable({
    write(/** @type {Buffer} */ bytes, _encoding, done) {
      try {
        for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at);
        done();
      } catch (error) {
        done(/** @type {Error} */ (error));
      }
    },
  });
}
