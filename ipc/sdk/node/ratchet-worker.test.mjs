// Tests of ratchet-worker: node --test

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import readline from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TaskError, Worker } from './ratchet-worker.mjs';

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
// It only ends a test that hangs.
const PATIENCE = 60_000;

// What every test's worker can do; what only one needs stands in that test.
const WORKER = `
  import fs from 'node:fs';
  import { TaskError, Worker } from './ratchet-worker.mjs';
  const throwing = (error) => () => { throw error; };
  const loop = {};
  loop.loop = loop;
  const mute = new Error();
  Object.defineProperty(mute, 'message', { get() { throw null; } });
  const traps = { getPrototypeOf() { throw 1; }, get() { throw 2; } };
  const badData = new TaskError('c', 'm', { data: loop });
  const mutedTask = new TaskError('c', 'm');
  mutedTask.code = { toString() { throw 3; } };
  const worker = new Worker('w', JSON.parse(process.env.OPTIONS))
    .task('add', (call) => call.input.a + call.input.b)
    .task('echo', (call) => call.input)
    .task('id', (call) => call.id)
    .task('facts', (call) => [
      call.attempt, call.timeoutMs === undefined, call.host === undefined, call.key === undefined,
      call.slot === undefined, call.resources, call.check, call.diff,
    ])
    .task('nothing', () => {})
    .task('large', () => 'x'.repeat(17 * 1024 * 1024))
    .task('text', throwing('text'))
    .task('null', throwing(Object.create(null)))
    .task('undefined', throwing(undefined))
    .task('mute', throwing(mute))
    .task('proxy', throwing(new Proxy({}, traps)))
    .task('badData', throwing(badData))
    .task('mutedTask', throwing(mutedTask))
    .task('delay', throwing(new TaskError('c', 'm', { retryAfterMs: 1.5 })))
    .task('infinite', throwing(new TaskError('c', 'm', { retryAfterMs: Infinity })))
    .task('soon', throwing(new TaskError('c', 'm', { retryAfterMs: 'soon' })))
    .task('loop', () => loop)
    .task('function', () => () => {})
    .task('symbol', async () => Symbol('s'))
    .task('bigint', () => [1n])
    .task('nan', () => [NaN])
    .task('infinity', () => ({ a: { b: -Infinity } }))
    .task('thenable', () => ({ get then() { throw 4; } }))
    .task('rejected', () => Promise.reject(Object.create(null)))
    .task('nulls', () => [null, { a: null }, 'null'])
    .task('wait', (call) => new Promise((_, reject) => {
      call.progress(0);
      call.signal.addEventListener('abort', () => {
        fs.writeSync(2, 'it was told\\n');
        reject(call.signal.reason);
      });
    }))
    .task('talk', (call) => {
      call.progress(NaN, 2, 'm'.repeat(call.input.length));
      call.log('\\u{1f600}'.repeat(call.input.length));
    })
    .task('chatter', (call) => {
      for (let at = 0; at < 100_000; at += 1) call.progress(at, 100_000, 'x'.repeat(100));
      return process.memoryUsage.rss();
    })
    .task('busy', () => {
      const until = performance.now() + 2;
      while (performance.now() < until);
    });
`;
const END = 'await worker.run();';

const command = (end) => ['--input-type=module', '-e', WORKER + end];
const settings = (options) => ({
  cwd: FOLDER,
  env: { ...process.env, OPTIONS: JSON.stringify(options) },
  timeout: PATIENCE,
  killSignal: 'SIGKILL',
  maxBuffer: 1 << 28,
});

/** What a worker says to these lines, its exit code and its stderr. */
function finish(lines, { end = END, ending = '\n', ...options } = {}) {
  const input = Buffer.concat(lines.map((line) => Buffer.concat([Buffer.from(line), Buffer.from('\n')])));
  const done = spawnSync(process.execPath, command(end), {
    ...settings(options),
    input: ending === '' ? input.subarray(0, -1) : input,
  });
  const said = String(done.stdout).trim().split('\n').map((line) => JSON.parse(line));
  return { said, status: done.status, stderr: String(done.stderr), raw: String(done.stdout) };
}

/** All that a worker says to these lines after its hello; it has to end well. */
function converse(lines, options) {
  const { said, status, stderr } = finish(lines, options);
  assert.equal(status, 0, stderr);
  return said.slice(1);
}

/** A worker process on real pipes, and the host's end of the conversation with it. */
function start(t, options = {}, end = END) {
  // Node gives its children sockets; a shell's pipes are what ratchet gives.
  const script = `cat <&3 | { "$@"; echo "exit $?" >&2; } | cat >&4`;
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, ...command(end)], {
    ...settings(options),
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
  t.after(() => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  // The worker may end before all of what it was sent is read.
  child.stdio[3].on('error', () => {});
  let stderr = '';
  child.stderr.on('data', (chunk) => { stderr += chunk; });
  const lines = readline.createInterface({ input: child.stdio[4] })[Symbol.asyncIterator]();
  const hear = async () => JSON.parse((await lines.next()).value);
  return {
    send: (...sent) => child.stdio[3].write(sent.map((line) => `${line}\n`).join('')),
    close: () => child.stdio[3].end(),
    hear,
    async hearUntil(event) {
      for (;;) {
        const said = await hear();
        if (said.event === event) return said;
      }
    },
    /** Its stderr, once the worker and the shell's pipes around it have ended. */
    async ended() {
      child.stdio[3].end();
      child.stdio[4].resume();
      await once(child, 'close');
      return stderr;
    },
  };
}

const request = (id, task, input) => JSON.stringify({ type: 'request', id, task, input });
const answers = (said) => said.filter((message) => message.type === 'response');
const complaints = (said) => said.filter((message) => message.event === 'log');

test('says hello, then ready, then answers', () => {
  const end = `worker.prepare(() => console.log('loading')); ${END}`;
  const { said, status, stderr } = finish([request('1', 'add', { a: 1, b: 2 })], { end });
  const [hello, ready, answer] = said;
  assert.deepEqual([hello.event, hello.protocol, hello.name], ['hello', [1], 'w']);
  assert.deepEqual(hello.capabilities, ['cancel', 'progress', 'ping', 'drain', 'ready']);
  assert.deepEqual(ready, { type: 'event', event: 'ready' });
  assert.deepEqual(answer, { type: 'response', id: '1', result: 3 });
  assert.equal(status, 0);
  assert.match(stderr, /loading/);
});

test('a blocking worker promises neither pings nor cancels', () => {
  const { said } = finish([], { blocking: true });
  assert.deepEqual(said[0].capabilities, ['progress', 'drain']);
});

test('says started when it works on several', () => {
  const said = converse([request('1', 'add', { a: 1, b: 2 })], { concurrency: 2 });
  assert.deepEqual(said.map((event) => event.event), ['started', undefined]);
});

test('whatever is thrown or returned is one answer to its request only', () => {
  const broken = [
    'text', 'null', 'undefined', 'mute', 'proxy', 'mutedTask', 'loop', 'function', 'symbol', 'bigint',
    'nan', 'infinity', 'thenable', 'rejected', 'add',
  ];
  const others = ['badData', 'delay', 'infinite', 'soon', 'large', 'nope', 'nulls', 'nothing'];
  const lines = [...broken, ...others].map((task) => request(task, task));
  for (const concurrency of [1, 3]) {
    const said = answers(converse(lines, { concurrency }));
    const ids = said.map((answer) => answer.id);
    assert.deepEqual(ids.sort(), [...broken, ...others].sort());
    const of = Object.fromEntries(said.map((answer) => [answer.id, answer]));
    for (const task of broken) assert.equal(of[task].error?.code, 'exception', task);
    assert.equal(of.text.error.message, 'text');
    assert.match(of.function.error.message, /the result is a function/);
    assert.match(of.symbol.error.message, /the result is a symbol/);
    assert.equal(of.badData.error.code, 'c');
    assert.deepEqual(of.delay.error, { code: 'c', message: 'm', retry_after_ms: 2 });
    assert.deepEqual(of.infinite.error, { code: 'c', message: 'm' });
    assert.deepEqual(of.soon.error, { code: 'c', message: 'm' });
    assert.equal(of.large.error.code, 'message_too_large');
    assert.equal(of.nope.error.code, 'unknown_task');
    assert.deepEqual(of.nulls.result, [null, { a: null }, 'null']);
    assert.equal(of.nothing.result, null);
  }
});

test('what is said on the way is cut to the limit', () => {
  const lines = [request('1', 'talk', { length: 3 }), request('2', 'talk', { length: 20_000 })];
  const { said, raw } = finish(lines, { maxMessageBytes: 9000 });
  assert.ok(raw.split('\n').every((line) => Buffer.byteLength(line) < 9000));
  const events = said.slice(1).map((message) => message.event);
  assert.deepEqual(events, ['progress', 'log', undefined, 'progress', 'log', undefined]);
  assert.deepEqual(said[1], { type: 'event', event: 'progress', id: '1', total: 2, message: 'mmm' });
  assert.match(said[4].message, /m \(cut\)$/);
});

test('complains of what it cannot read and goes on', () => {
  const lines = [
    'noise', '{"type":"request"}', 'null', '[]', '', '{"type":"response","id":"1","result":1}', '}}}{', '"',
    '{"type":"event","event":"ping","nonce":[]}', '{"type":"event","event":"cancel"}', '{"type":',
    '{"type":"event","event":"news"}', Buffer.from([0xff]), '['.repeat(100_000), '\ufeff',
  ];
  const said = converse([...lines, request('1', 'add', { a: 1, b: 2 })]);
  // All but the empty line and the unknown event.
  assert.equal(complaints(said).length, lines.length - 2, JSON.stringify(said));
  assert.deepEqual(answers(said), [{ type: 'response', id: '1', result: 3 }]);
});

test('ids and nonces come back to the letter', () => {
  const ids = ['1.0', '1e400', '1.50', '-0', '12345678901234567890', '"7"', '""', '"a b"', '"\ufffd"', '"\\ud800"'];
  const lines = ids.map((id) => `{"task":"id", "input":{"id":0}, "id" : ${id} , "type":"request"}`);
  const { raw } = finish([...lines, '{"type":"event","event":"ping","nonce":18446744073709551615}']);
  const said = raw.trim().split('\n').slice(1);
  const pong = said.findIndex((line) => line.includes('pong'));
  assert.deepEqual(said.splice(pong, 1), ['{"type":"event","event":"pong","nonce":18446744073709551615}']);
  const text = (id) => (id.startsWith('"') ? id : `"${id}"`);
  assert.deepEqual(said, ids.map((id) => `{"type":"response","id":${id},"result":${text(id)}}`));
});

test('a field that is null counts as absent', () => {
  const optional = ['input', 'attempt', 'timeout_ms', 'host', 'key', 'slot', 'resources', 'check', 'diff'];
  const nulls = optional.map((name) => `"${name}":null`).join(',');
  const full =
    '"attempt":2,"timeout_ms":9,"host":"h","key":"k","slot":3,"resources":{"gpu":[0]},"check":true,"diff":true';
  const lines = ['"x":0', nulls, full].map((rest, id) => `{"type":"request","id":${id},"task":"facts",${rest}}`);
  const results = answers(converse(lines)).map((answer) => answer.result);
  const absent = [1, true, true, true, true, {}, false, false];
  assert.deepEqual(results, [absent, absent, [2, false, false, false, false, { gpu: [0] }, true, true]]);
});

test('what is no id is refused', () => {
  const bad = ['true', 'null', 'NaN', '[1]', '{}', '01', `"${'x'.repeat(2000)}"`];
  const said = converse(bad.map((id) => `{"type":"request","id":${id},"task":"echo"}`));
  assert.equal(complaints(said).length, bad.length);
  assert.equal(said.length, bad.length);
});

test('what cannot be read is answered if it says whose it is', () => {
  const bad = ['', ',"task":"echo","input":', ',"task":5', ',"task":"echo","input":NaN}'];
  const lines = bad.map((rest, id) => `{"type":"request","id":${id}${rest || '}'}`);
  lines[2] = Buffer.from('{"type":"request","id":2,"task":"echo","input":"\xe9"}', 'latin1');
  const said = converse([...lines, request('1', 'add', { a: 1, b: 2 })]);
  // What is not UTF-8 is answered when it is read, the others when their turn comes.
  assert.deepEqual(said.slice(0, 4).map((answer) => answer.id), [2, 0, 1, 3]);
  for (const { error } of said.slice(0, 4)) {
    assert.deepEqual([error.code, error.retryable], ['malformed', false]);
  }
  assert.equal(said[4].result, 3);
});

test('a message too long is answered if it says whose it is', () => {
  const filler = `"${'x'.repeat(3000)}"`;
  const lines = [
    `{"type":"request","id":"a","task":"echo","input":${filler}}`,
    `{"id":2.5,"input":{"type":"x","id":"no"},"type":"request","x":${filler}}`,
    `{"type":"request","input":${filler},"id":"behind"}`,
    `{"type":"event","event":"news","id":"b","x":${filler}}`,
    `{"type":"request","input":{"id":"inner"},"x":${filler}}`,
    request('1', 'add', { a: 1, b: 2 }),
    `{"type":"request","id":"last","task":"echo","input":${filler}}`,
  ];
  const said = converse(lines, { ending: '', maxMessageBytes: 2000 });
  const of = Object.fromEntries(answers(said).map((answer) => [answer.id, answer]));
  assert.deepEqual(Object.keys(of).sort(), ['1', '2.5', 'a', 'last']);
  assert.equal(of['1'].result, 3);
  for (const id of ['a', '2.5', 'last']) assert.equal(of[id].error.code, 'message_too_large');
  assert.equal(complaints(said).length, 3);
});

test('invalid UTF-8 is never executed', () => {
  const line = Buffer.from('{"type":"request","id":"1","task":"echo","input":"?"}');
  line[line.indexOf('?')] = 0xff;
  const said = converse([line]);
  assert.equal(said.length, 1);
  assert.equal(said[0].error.code, 'malformed');
  assert.match(said[0].error.message, /UTF-8/);
});

test('the same id twice is answered twice, and no more is done at once than agreed', () => {
  const end = `
    let running = 0;
    let most = 0;
    worker.task('count', async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
      return most;
    });
    ${END}`;
  const said = answers(converse(Array(20).fill(request('1', 'count')), { end, concurrency: 2 }));
  assert.equal(said.length, 20);
  assert.equal(Math.max(...said.map((answer) => answer.result)), 2);
});

test('a later task of the same name replaces the first', () => {
  const said = converse([request('1', 'echo')], { end: `worker.task('echo', () => 'second'); ${END}` });
  assert.equal(said[0].result, 'second');
});

test('run resolves when all is answered, and a forgotten timer keeps nothing', () => {
  const end = `
    setInterval(() => {}, 1000);
    await worker.run();
    process.exitCode = 7;
    console.log('over');`;
  const { said, status, stderr } = finish([request('1', 'large'), request('2', 'echo', 'last')], { end });
  assert.equal(said.at(-1).result, 'last');
  assert.equal(status, 7);
  assert.match(stderr, /over/);
});

test('run rejects when the preparation fails', () => {
  const preparation = "worker.prepare(() => { throw new Error('no model'); });";
  const caught = finish([], { end: `${preparation} await worker.run().catch((e) => console.log('caught', e.message));` });
  assert.match(caught.stderr, /caught no model/);
  assert.equal(caught.status, 1);
  const uncaught = finish([], { end: `${preparation} worker.run();` });
  assert.equal(uncaught.status, 1);
});

test('pings and cancels are heard behind thousands of requests', { timeout: PATIENCE }, async (t) => {
  const host = start(t);
  host.send(request('w', 'wait'), ...Array.from({ length: 5000 }, (_, id) => request(id, 'echo')));
  await host.hearUntil('progress');
  host.send('{"type":"event","event":"ping","nonce":1}');
  assert.equal((await host.hear()).nonce, 1);
  host.send('{"type":"event","event":"cancel","id":4999}', '{"type":"event","event":"cancel","id":"w"}');
  assert.deepEqual([(await host.hear()).id, (await host.hear()).id], [4999, 'w']);
  host.send('{"type":"event","event":"drain"}');
  for (let id = 0; id < 4999; id += 1) assert.equal((await host.hear()).id, id);
  assert.match(await host.ended(), /exit 0/);
});

test('a ping is answered between handlers that never await', { timeout: PATIENCE }, async (t) => {
  const host = start(t);
  host.send(...Array.from({ length: 300 }, (_, id) => request(id, 'busy')));
  await host.hearUntil('hello');
  assert.equal((await host.hear()).id, 0);
  host.send('{"type":"event","event":"ping","nonce":1}');
  let answered = 0;
  while ((await host.hear()).event !== 'pong') answered += 1;
  assert.ok(answered < 299, `${answered} answers came first`);
  host.close();
});

test('far more than fits in memory is read piece by piece and answered', () => {
  const end = `worker.task('rss', () => process.memoryUsage.rss()); ${END}`;
  const big = request(1, 'nothing', 'x'.repeat(1 << 20));
  const script = `
    { for i in $(seq 250); do cat big; done; echo '${request('rss', 'rss')}'; } | "$@" | grep -v '"id":1,'`;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ratchet-worker-'));
  try {
    fs.writeFileSync(path.join(folder, 'big'), `${big}\n`);
    const slow = `worker.prepare(() => new Promise((done) => setTimeout(done, 1000))); ${end}`;
    const args = ['-c', script, 'sh', process.execPath, '--input-type=module', '-e'];
    const source = (WORKER + slow).replace('./ratchet-worker.mjs', path.join(FOLDER, 'ratchet-worker.mjs'));
    const done = spawnSync('sh', [...args, source], { ...settings({}), cwd: folder });
    const said = String(done.stdout).trim().split('\n').map((line) => JSON.parse(line));
    assert.ok(said.at(-1).result < 250 << 20, `${said.at(-1).result >> 20} MiB`);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('what nobody reads is dropped and counted, and the answer comes', { timeout: PATIENCE }, async (t) => {
  const host = start(t);
  host.send(request('1', 'chatter'));
  await host.hearUntil('hello');
  let events = 0;
  let dropped = 0;
  for (;;) {
    const said = await host.hear();
    if (said.event === 'progress') events += 1;
    else if (said.event === 'log') dropped += Number(said.message.split(' ')[0]);
    else break;
  }
  host.close();
  assert.match(await host.ended(), /exit 0/);
  // The count comes once there is room again, which may be behind the answer.
  assert.ok(events < 100_000);
  assert.ok(dropped === 0 || events + dropped === 100_000, `${events} + ${dropped}`);
});

test('nothing is begun before the last answer has left', () => {
  const end = `
    worker.task('mega', () => 'x'.repeat(1 << 20)).task('unsent', () => worker._output.writableLength);
    ${END}`;
  const lines = ['mega', 'unsent', 'mega', 'unsent'].map((task, id) => request(id, task));
  const said = converse(lines, { end });
  assert.deepEqual([said[1].result, said[3].result], [0, 0]);
});

test('a host that is gone cancels what runs', { timeout: PATIENCE }, async (t) => {
  const script = `{ echo '${request('1', 'wait')}'; echo '${request('2', 'large')}'; sleep 1000; } | { "$@"; echo "exit $?" >&2; kill 0; } | head -n 2`;
  const child = spawn('sh', ['-c', script, 'sh', process.execPath, ...command(END)], {
    ...settings({ concurrency: 2 }),
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  t.after(() => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => { stderr += chunk; });
  await once(child, 'close');
  assert.match(stderr, /it was told/);
  assert.match(stderr, /exit 1/);
});

test('a file is appended to', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ratchet-worker-'));
  try {
    const file = path.join(folder, 'out');
    fs.writeFileSync(file, 'before\n');
    const out = fs.openSync(file, 'a');
    const child = spawnSync(process.execPath, command(END), {
      ...settings({}),
      input: `${request('1', 'echo', 'x')}\n`,
      stdio: ['pipe', out, 'ignore'],
    });
    fs.closeSync(out);
    assert.equal(child.status, 0);
    const lines = fs.readFileSync(file, 'utf8').trim().split('\n');
    assert.equal(lines.length, 3);
    assert.equal(lines[0], 'before');
    assert.equal(JSON.parse(lines[2]).result, 'x');
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('with a socket it starts, keeps prints out and says so once', () => {
  const end = `worker.task('print', () => console.log('printed')); ${END}`;
  const { said, status, stderr } = finish([request('1', 'print')], { end });
  assert.deepEqual([said.length, status], [2, 0]);
  assert.equal(stderr.match(/cannot be moved/g).length, 1);
  assert.match(stderr, /printed/);
});

test('with pipes of another user it starts and says so once', (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ratchet-worker-'));
  try {
    fs.chmodSync(folder, 0o755);
    fs.copyFileSync(path.join(FOLDER, 'ratchet-worker.mjs'), path.join(folder, 'ratchet-worker.mjs'));
    // Read and written by this process's right to it, not by the worker's.
    const pipe = path.join(folder, 'pipe');
    assert.equal(spawnSync('mkfifo', ['-m', '600', pipe]).status, 0);
    const fd = fs.openSync(pipe, 'r+');
    fs.chmodSync(pipe, 0);
    const root = process.getuid() === 0;
    const end = `worker.task('print', () => console.log('printed')); ${END}`;
    const child = spawnSync(process.execPath, command(end), {
      ...settings({}),
      cwd: folder,
      stdio: ['pipe', fd, 'pipe'],
      input: `${request('1', 'print')}\n`,
      ...(root ? { uid: 65534, gid: 65534 } : {}),
    });
    if (child.error?.code === 'EPERM') return t.skip('another user cannot be taken on here');
    assert.equal(child.status, 0, String(child.stderr));
    assert.match(String(child.stderr), /stdin and stdout cannot be moved/);
    assert.match(String(child.stderr), /printed/);
    const buffer = Buffer.alloc(1 << 16);
    const said = buffer.toString('utf8', 0, fs.readSync(fd, buffer)).trim().split('\n');
    fs.closeSync(fd);
    assert.deepEqual(JSON.parse(said.at(-1)), { type: 'response', id: '1', result: null });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
  return undefined;
});

test('an error says what it knows', () => {
  const error = new TaskError('x', 'y', { retryable: false, retryAfterMs: 250, data: [1] });
  const expected = { code: 'x', message: 'y', retryable: false, retry_after_ms: 250, data: [1] };
  assert.deepEqual(JSON.parse(JSON.stringify(error)), expected);
  assert.equal(JSON.stringify(new TaskError('x', 'y')), '{"code":"x","message":"y"}');
  assert.equal(new TaskError('x', 'y', { retryAfterMs: -1 }).toJSON().retry_after_ms, 0);
});

test('what cannot work is refused', () => {
  assert.throws(() => new Worker('w', { concurrency: 0 }), RangeError);
  assert.throws(() => new Worker('w', { maxMessageBytes: 0.5 }), RangeError);
  assert.throws(() => new Worker('w').task('t', {}), TypeError);
});
