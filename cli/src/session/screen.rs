//! Stderr, which progress, the log and all that is said to people share.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratchet_runtime::Sink;
use ratchet_runtime::event::Record;

use crate::progress::Progress;

/// How often the display is looked after.
const TICK: Duration = Duration::from_millis(100);

/// What people see. Clones are the same screen.
#[derive(Clone)]
pub(crate) struct Screen(Arc<Mutex<Progress>>);

impl Screen {
    pub(crate) fn new(progress: Progress) -> Self {
        Self(Arc::new(Mutex::new(progress)))
    }

    /// Says something to people: above the bars, if there are any.
    pub(crate) fn say(&self, text: &str) {
        // There is nobody left to tell where stderr is closed.
        let _ = self.write_err(text.as_bytes());
    }

    /// Writes somewhere on the same terminal, without the bars in the way.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.progress().suspend(write)
    }

    pub(crate) fn write_err(&self, bytes: &[u8]) -> io::Result<()> {
        self.aside(|| io::stderr().write_all(bytes))
    }

    pub(crate) fn finish(&self) {
        self.progress().finish();
    }

    /// Redraws, as time goes on, for ever.
    pub(crate) async fn tick(self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let now = ticks.tick().await.into_std();
            self.progress().tick(now);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Sink for Screen {
    fn on(&mut self, record: &Record) {
        self.progress().observe(&record.event, now());
    }

    fn name(&self) -> &'static str {
        "progress"
    }
}

/// Whoever writes to stderr through it does not disturb the bars.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_err(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
