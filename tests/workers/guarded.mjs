// A worker that does all it should not. See src/bin/guarded.rs.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { once } from 'node:events';
import { TaskError, Worker } from '../../ipc/sdk/node/ratchet-worker.mjs';

await new Worker('guarded', { version: '1.0' })
  .task('echo', { cacheable: true }, (call) => call.input)
  .task('noisy', () => {
    console.log('a print');
    fs.writeSync(1, 'a native addon\n');
    const child = spawnSync('sh', ['-c', 'cat; echo a child'], { stdio: 'inherit' });
    if (child.status !== 0) throw new TaskError('child', 'the child failed');
    return 'quiet';
  })
  .task('talk', (call) => {
    call.progress(1, 2, 'half');
    call.log('odd', 'warn');
  })
  .task('fail', () => {
    throw new TaskError('not_found', 'no such file', {
      retryable: false,
      retryAfterMs: 1500,
      data: 'a.png',
    });
  })
  .task('wait', async (call) => {
    call.progress(0);
    await once(call.signal, 'abort');
    throw call.signal.reason;
  })
  .run();
