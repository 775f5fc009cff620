//! The worker libraries' own tests, in their own languages.

use std::path::Path;
use std::process::Command;

use ratchet_tests::{WorkerProtocol, present};

fn passes(language: WorkerProtocol, folder: &str, arguments: &[&str]) {
    if !present(language, "its worker library's own tests are not run") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../ipc/sdk")
        .join(folder);
    let output = Command::new(language.program())
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

#[test]
fn the_python_library_passes_its_own_tests() {
    passes(
        WorkerProtocol::Python,
        "python",
        &["-m", "unittest", "test_ratchet_worker"],
    );
}

#[test]
fn the_node_library_passes_its_own_tests() {
    passes(
        WorkerProtocol::Node,
        "node",
        &["--test", "ratchet-worker.test.mjs"],
    );
}
