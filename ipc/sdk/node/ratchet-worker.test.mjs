// Tests of ratchet-worker: node --test

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { test } from 'node:test';
import { TaskError, Worker } from './ratchet-worker.mjs';

const WORKER = `
  import { Worker } from './ratchet-worker.mjs';
  await new Worker('w', { concurrency: Number(process.env.CONCURRENCY) })
    .task('add', (call) => call.input.a + call.input.b)
    .task('throw', () => { throw 'text'; })
    .task('loop', () => { const loop = {}; loop.loop = loop; return loop; })
    .task('large', () => 'x'.repeat(17 * 1024 * 1024))
    .task('nothing', () => {})
    .prepare(() => console.log('loading'))
    .run();
`;

/** All that a worker says to these lines. */
function converse(lines, concurrency = 1) {
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', WORKER], {
    input: lines.join('\n'),
    cwd: import.meta.dirname ?? new URL('.', import.meta.url).pathname,
    env: { ...process.env, CONCURRENCY: String(concurrency) },
    timeout: 60_000,
  });
  assert.equal(done.status, 0, String(done.stderr));
  return String(done.stdout).trim().split('\n').map((line) => JSON.parse(line));
}

const request = (id, task, input) => JSON.stringify({ type: 'request', id, task, input });

test('says hello, then ready, then answers', () => {
  const [hello, ready, answer] = converse([request('1', 'add', { a: 1, b: 2 })]);
  assert.deepEqual([hello.event, hello.protocol, hello.name], ['hello', [1], 'w']);
  assert.ok(hello.capabilities.includes('ready'));
  assert.deepEqual(ready, { type: 'event', event: 'ready' });
  assert.deepEqual(answer, { type: 'response', id: '1', result: 3 });
});

test('whatever is thrown is the failure of its request only', () => {
  const tasks = ['throw', 'loop', 'large', 'nope', 'add'];
  const said = converse([...tasks.map((task, id) => request(id, task)), request(9, 'nothing')]);
  const answers = said.slice(2);
  assert.deepEqual(answers.map((answer) => answer.id), [0, 1, 2, 3, 4, 9]);
  assert.deepEqual(
    answers.slice(0, 5).map((answer) => answer.error.code),
    ['exception', 'exception', 'message_too_large', 'unknown_task', 'exception'],
  );
  assert.equal(answers[0].error.message, 'text');
  assert.equal(answers[5].result, null);
});

test('complains of what it cannot read', () => {
  const said = converse(['noise', '{"type":"request"}', '{"type":"request","id":"1"}', 'null', '']);
  assert.equal(said.filter((event) => event.event === 'log').length, 3);
  assert.equal(said.find((event) => event.type === 'response').error.code, 'malformed');
});

test('says started when it works on several', () => {
  const said = converse([request('1', 'add', { a: 1, b: 2 })], 2);
  assert.deepEqual(said.map((event) => event.event), ['hello', 'ready', 'started', undefined]);
});

test('an error says what it knows', () => {
  const error = new TaskError('x', 'y', { retryable: false, retryAfterMs: 250, data: [1] });
  const expected = { code: 'x', message: 'y', retryable: false, retry_after_ms: 250, data: [1] };
  assert.deepEqual(JSON.parse(JSON.stringify(error)), expected);
  assert.equal(JSON.stringify(new TaskError('x', 'y')), '{"code":"x","message":"y"}');
});

test('what cannot work is refused', () => {
  assert.throws(() => new Worker('w', { concurrency: 0 }), RangeError);
  assert.throws(() => new Worker('w').task('t', {}), TypeError);
});
