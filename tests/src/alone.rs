//! Tests that count what their process holds, and so need a process of their own.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Set in the process that runs the test itself.
const ALONE: &str = "RATCHET_TEST_ALONE";

/// Runs a test in a process of its own, in which no other test starts or opens anything.
///
/// There it runs on a runtime of one thread, and fails if ratchet finds a bug in itself.
pub fn alone(test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_none() {
        let thread = std::thread::current();
        let name = thread
            .name()
            .unwrap_or_else(|| panic!("a test's thread has its name"));
        let program = std::env::current_exe().unwrap_or_else(|error| panic!("no program: {error}"));
        let output = Command::new(program)
            .args([name, "--exact", "--nocapture", "--include-ignored"])
            .env(ALONE, "1")
            .output()
            .unwrap_or_else(|error| panic!("it does not start: {error}"));
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}{complained}"
        );
        return;
    }
    // The only one who could have set another is this very function.
    let _ = tracing::subscriber::set_global_default(Complaints);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_millis(1))
        .build();
    runtime
        .unwrap_or_else(|error| panic!("no runtime: {error}"))
        .block_on(test);
    let complaints = COMPLAINTS
        .lock()
        .unwrap_or_else(|_| panic!("a test has panicked"));
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// What ratchet has found wrong with itself.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Complaints;

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains("a bug in ratchet")
            && let Ok(mut complaints) = COMPLAINTS.lock()
        {
            complaints.push(text.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to text cannot fail.
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
