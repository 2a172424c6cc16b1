// The Worker's entry, around what wasm-bindgen makes of the Rust code. Here wait the tasks of Rust (`executor.rs`): each gives the
// promise that it waits for, and is resumed with what became of it, until it gives something else.
//
// A panic, as any trap, ends the module, and it is made anew. The crate `worker` asks wasm-bindgen's glue to do that at the next call;
// but it says so in the module's own memory, so where that may be lost it is done here. Numbers of tasks go on, so that none of
// before is taken for one of after.

import { __wbg_reset_state, fetch, queue, resume, scheduled } from './index.js';

let last = 0;

/** A call into the module, which is made anew if that was its end. */
function call(entry, ...given) {
  try {
    return entry(...given);
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) __wbg_reset_state();
    throw error;
  }
}

async function run(begin, ...given) {
  const task = ++last;
  let step = call(begin, task, ...given);
  while (typeof step?.then === 'function') {
    let value;
    let failed = false;
    try {
      value = await step;
    } catch (error) {
      value = error;
      failed = true;
    }
    step = call(resume, task, value, failed);
  }
  return step;
}

export default {
  fetch: (request, env, context) => run(fetch, request, env, context),
  // Every message is answered, whatever happens to its neighbours.
  async queue(batch, env) {
    await Promise.all(batch.messages.map((message) => run(queue, message, batch.queue, env)));
  },
  scheduled: (event, env) => run(scheduled, env),
};
