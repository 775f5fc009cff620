//! Runs a test in a process of its own, for tests that count the threads and descriptors of their process.

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::log::{self, LogListener};

/// The variable that is set in the process that runs the test itself.
const ALONE: &str = "RATCHET_TEST_ALONE";

/// Runs a test in a process of its own, in which no other test starts or opens anything.
///
/// The test runs on a runtime with one thread. It also fails if ratchet logs that it found a bug in itself.
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
    log::listen(BugCollector);
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

/// The bugs that ratchet found in itself during the test.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects the bugs that ratchet logs.
struct BugCollector;

impl LogListener for BugCollector {
    fn complaint(&self, complaint: String) {
        if complaint.contains("a bug in ratchet")
            && let Ok(mut complaints) = COMPLAINTS.lock()
        {
            complaints.push(complaint);
        }
    }
}
