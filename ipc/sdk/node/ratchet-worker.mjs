// @ts-check
/**
 * A ratchet worker in Node: one file, no dependencies, Node 18 or later.
 *
 *     import { Worker } from './ratchet-worker.mjs';
 *
 *     new Worker('resizer', { version: '2.1' })
 *       .task('resize', { hint: 'host_exclusive', cacheable: true }, async (call) => {
 *         call.progress(1, 2);
 *         return { path: call.input.path };
 *       })
 *       .run();
 *
 * What a handler returns, or its promise brings, is the result; what it throws is the failure of that
 * one request. `throw new TaskError('not_found', 'no such file', { retryable: false })` says more.
 * `call.signal` is an AbortSignal that tells when the host no longer wants an answer.
 *
 * Stray prints cannot spoil the conversation: it moves to descriptors of its own, which child processes
 * do not inherit, file descriptor 1 becomes stderr and 0 becomes empty. That holds for `console.log`,
 * for native addons and for child processes.
 */

import fs from 'node:fs';
import net from 'node:net';
import process from 'node:process';

const PROTOCOL = 1;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** @typedef {string | number} Id */
/** @typedef {(call: Call) => unknown} Handler */
/**
 * @typedef {object} Declaration
 * @property {string | object} [hint] how parallel the task may be, as in a job file
 * @property {boolean} [cacheable] the same input always gives the same result
 * @property {string} [description] what it does, for people
 */

/** Why a request could not be done, for programs (`code`) and for people (`message`). */
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
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      retry_after_ms: this.retryAfterMs,
      data: this.data,
    };
  }
}

/** One request, as its handler sees it. */
export class Call {
  /** @param {Worker} worker @param {any} request */
  constructor(worker, request) {
    /** @type {Id} */ this.id = request.id;
    /** @type {string} */ this.task = request.task;
    /** @type {any} */ this.input = request.input ?? null;
    /** @type {number} */ this.attempt = request.attempt ?? 1;
    /** @type {number | undefined} */ this.timeoutMs = request.timeout_ms;
    /** @type {string | undefined} */ this.host = request.host;
    /** @type {string | undefined} */ this.key = request.key;
    /** @type {boolean} */ this.check = request.check ?? false;
    /** @type {boolean} */ this.diff = request.diff ?? false;
    this._worker = worker;
    this._controller = new AbortController();
  }

  /** Tells when the host no longer wants an answer. */
  get signal() {
    return this._controller.signal;
  }

  /**
   * Tells how far the work has got, which also shows that it goes on.
   * @param {number} [done] @param {number} [total] @param {string} [message]
   */
  progress(done, total, message) {
    this._worker._send({ type: 'event', event: 'progress', id: this.id, done, total, message });
  }

  /**
   * Tells something to whoever runs the job.
   * @param {string} message @param {'trace' | 'debug' | 'info' | 'warn' | 'error'} [level]
   */
  log(message, level = 'info') {
    this._worker._send({ type: 'event', event: 'log', id: this.id, level, message });
  }
}

/** A worker: its tasks, and what it says of itself. */
export class Worker {
  /** @param {string} name @param {{ version?: string, concurrency?: number }} [more] */
  constructor(name, more = {}) {
    const concurrency = more.concurrency ?? 1;
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new RangeError('concurrency must be a whole number of at least 1');
    }
    this.name = name;
    this.version = more.version;
    this.concurrency = concurrency;
    /** @type {Map<string, Handler>} */ this._handlers = new Map();
    /** @type {Record<string, Declaration>} */ this._declarations = Object.create(null);
    /** @type {(() => unknown) | undefined} */ this._preparation = undefined;
    /** @type {Call[]} */ this._waiting = [];
    /** @type {Map<Id, Call>} */ this._running = new Map();
    this._ready = false;
    this._ended = false;
    /** @type {import('node:stream').Writable | undefined} */ this._output = undefined;
    /** @type {import('node:stream').Readable | undefined} */ this._input = undefined;
  }

  /**
   * Adds a task.
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
   * Does something slow, such as loading a model, before the first request comes.
   * @param {() => unknown} preparation
   */
  prepare(preparation) {
    this._preparation = preparation;
    return this;
  }

  /** Takes over stdin and stdout and serves until the host has no more work. */
  async run() {
    const { input, output } = takeStdio();
    this._input = input;
    this._output = output;
    output.on('error', () => this._lose());
    readLines(
      input,
      (line) => this._take(line),
      () => this._end(),
    );
    this._send(this._hello());
    if (this._preparation) {
      await this._preparation();
      this._send({ type: 'event', event: 'ready' });
    }
    this._ready = true;
    this._start();
  }

  _hello() {
    const capabilities = ['cancel', 'progress', 'ping', 'drain'];
    if (this._preparation) capabilities.push('ready');
    return {
      type: 'event',
      event: 'hello',
      protocol: [PROTOCOL],
      name: this.name,
      version: this.version,
      concurrency: this.concurrency,
      capabilities,
      tasks: this._declarations,
    };
  }

  /** @param {Buffer | null} line */
  _take(line) {
    if (line === null) {
      return this._complain(`a message of more than ${MAX_MESSAGE_BYTES} bytes was dropped`);
    }
    const text = line.toString('utf8').trim();
    if (text === '') return undefined;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this._complain(`not a message: ${text.slice(0, 200)}`);
    }
    if (message?.type === 'request') return this._takeRequest(message);
    if (message?.type === 'event') return this._takeEvent(message);
    return this._complain(`not a message: ${text.slice(0, 200)}`);
  }

  /** @param {any} request */
  _takeRequest(request) {
    if (typeof request.id !== 'string' && typeof request.id !== 'number') {
      return this._complain('a request without an id');
    }
    if (typeof request.task !== 'string') {
      const error = new TaskError('malformed', 'a request without a task', { retryable: false });
      return this._reply(request.id, { error });
    }
    this._waiting.push(new Call(this, request));
    return this._start();
  }

  /** @param {any} event */
  _takeEvent(event) {
    if (event.event === 'ping') {
      this._send({ type: 'event', event: 'pong', nonce: event.nonce ?? 0 });
    } else if (event.event === 'cancel') {
      this._cancel(event.id);
    } else if (event.event === 'drain') {
      this._end();
    }
  }

  /** @param {Id} id */
  _cancel(id) {
    const running = this._running.get(id);
    if (running) return running._controller.abort();
    const at = this._waiting.findIndex((call) => call.id === id);
    if (at < 0) return undefined;
    this._waiting.splice(at, 1);
    return this._reply(id, { error: new TaskError('cancelled', 'cancelled before it began') });
  }

  _end() {
    this._ended = true;
    this._start();
  }

  /** The host is gone: nobody will read what comes, and nothing more will be asked. */
  _lose() {
    process.exitCode = 1;
    this._ended = true;
    this._waiting.length = 0;
    for (const call of this._running.values()) call._controller.abort();
    this._input?.destroy();
  }

  _start() {
    if (!this._ready) return;
    while (this._running.size < this.concurrency) {
      const call = this._waiting.shift();
      if (!call) break;
      this._running.set(call.id, call);
      void this._handle(call);
    }
    if (this._ended && this._running.size === 0 && this._waiting.length === 0) {
      this._input?.destroy();
      this._output?.end();
    }
  }

  /** @param {Call} call */
  async _handle(call) {
    if (this.concurrency > 1) this._send({ type: 'event', event: 'started', id: call.id });
    let answer;
    try {
      const handler = this._handlers.get(call.task);
      if (!handler) {
        const known = [...this._handlers.keys()].sort().join(', ');
        throw new TaskError(
          'unknown_task',
          `there is no task \`${call.task}\` here; known: ${known}`,
          { retryable: false },
        );
      }
      answer = { result: (await handler(call)) ?? null };
    } catch (error) {
      answer = { error: asTaskError(error, call.signal.aborted) };
    }
    this._running.delete(call.id);
    this._reply(call.id, answer);
    this._start();
  }

  /** @param {Id} id @param {{ result?: unknown, error?: TaskError }} answer */
  _reply(id, answer) {
    let line;
    try {
      line = JSON.stringify({ type: 'response', id, ...answer });
      if (Buffer.byteLength(line) > MAX_MESSAGE_BYTES) {
        throw new TaskError('message_too_large', 'the result is too large to send', {
          retryable: false,
        });
      }
    } catch (error) {
      const failure = asTaskError(error, false);
      failure.data = undefined;
      line = JSON.stringify({ type: 'response', id, error: failure });
    }
    this._write(line);
  }

  /** @param {string} message */
  _complain(message) {
    this._send({ type: 'event', event: 'log', level: 'error', message });
  }

  /** @param {object} message */
  _send(message) {
    this._write(JSON.stringify(message));
  }

  /** Every line leaves at once: the next request may keep this thread for an hour. @param {string} line */
  _write(line) {
    this._output?.write(`${line}\n`);
  }
}

/** @param {unknown} error @param {boolean} aborted */
function asTaskError(error, aborted) {
  if (error instanceof TaskError) return error;
  if (aborted) return new TaskError('cancelled', 'cancelled by the host');
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new TaskError('exception', message);
}

/**
 * Calls back with each line as bytes, or with null for one that was too long.
 * @param {import('node:stream').Readable} input
 * @param {(line: Buffer | null) => void} take @param {() => void} end
 */
function readLines(input, take, end) {
  /** @type {Buffer[]} */ let rest = [];
  let length = 0;
  /** @param {Buffer} piece */
  const keep = (piece) => {
    length += piece.length;
    if (length <= MAX_MESSAGE_BYTES) rest.push(piece);
    else rest = [];
  };
  const line = () => {
    const whole = length <= MAX_MESSAGE_BYTES ? Buffer.concat(rest) : null;
    rest = [];
    length = 0;
    take(whole);
  };
  input.on('data', (/** @type {Buffer} */ chunk) => {
    let start = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, start)) {
      keep(chunk.subarray(start, at));
      line();
      start = at + 1;
    }
    if (start < chunk.length) keep(chunk.subarray(start));
  });
  let over = false;
  const finish = () => {
    if (over) return;
    over = true;
    if (length > 0) line();
    end();
  };
  input.on('end', finish);
  input.on('error', finish);
}

/** Moves the conversation to descriptors that no child inherits. */
function takeStdio() {
  // Node has no dup2. Opening a descriptor's own name makes another one for the same pipe, and a
  // descriptor that was closed is the first to be given out again.
  const inFd = reopen(0, 'r');
  const outFd = reopen(1, 'w');
  if (inFd !== 0) replace(0, '/dev/null', 'r');
  if (outFd !== 1) replace(1, fdPath(2), 'a');
  // What JavaScript prints goes to stderr in any case.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  return { input: readable(inFd), output: writable(outFd) };
}

/** @param {number} fd */
function fdPath(fd) {
  return process.platform === 'linux' ? `/proc/self/fd/${fd}` : `/dev/fd/${fd}`;
}

/** @param {number} fd @param {string} flags */
function reopen(fd, flags) {
  // ratchet gives its workers pipes. A socket, which other hosts may give, has no name to be opened by:
  // it stays where it is, and children that inherit it can print into it.
  return fs.fstatSync(fd).isSocket() ? fd : fs.openSync(fdPath(fd), flags);
}

/** @param {number} fd @param {string} path @param {string} flags */
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

/** @param {number} fd @returns {import('node:stream').Writable} */
function writable(fd) {
  if (isStream(fd)) return new net.Socket({ fd, readable: false, writable: true });
  return fs.createWriteStream('', { fd });
}
