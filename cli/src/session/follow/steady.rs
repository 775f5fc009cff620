//! Calls of a queue that wait for its server while that does not answer.

use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{Engine, Error};

use crate::session::console::Console;

/// The first and the longest pause before a call is made again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A queue whose server may be away for a while. Trouble is told once, and so is its end.
pub(super) struct SteadyEngine {
    engine: Arc<dyn Engine>,
    console: Option<Console>,
}

impl SteadyEngine {
    /// Makes calls of this queue wait.
    pub(super) fn new(engine: Arc<dyn Engine>, console: Option<Console>) -> Self {
        Self { engine, console }
    }

    /// Makes a call, again and again until the server answers. The call has to be one that can be repeated.
    pub(super) async fn call<T, C, F>(&self, call: C) -> Result<T, Error>
    where
        C: Fn(Arc<dyn Engine>) -> F,
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut is_told = false;
        loop {
            let error = match call(Arc::clone(&self.engine)).await {
                Err(error @ (Error::Unreachable(_) | Error::OutOfMemory { .. })) => error,
                answer => {
                    if is_told {
                        self.say("the queue answers again");
                    }
                    return answer;
                }
            };
            if !is_told {
                is_told = true;
                let error = ratchet_runtime::error_chain(&error);
                self.say(&format!(
                    "the queue does not go on ({error}); its jobs are followed again when it does"
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn say(&self, text: &str) {
        if let Some(console) = &self.console {
            console.say(&format!("ratchet: {text}\n"));
        }
    }
}
