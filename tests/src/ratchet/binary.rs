//! Finds the `ratchet` program under test, and builds it if necessary.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of the program, built with the profile of the tests.
///
/// Cargo builds the programs of a package only for that package's own tests. So this function asks cargo to build
/// `ratchet`, and under `cargo test` the program is never an old one. If the tests run without cargo, the program that
/// exists is taken.
pub(super) fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let tests = std::env::current_exe().unwrap_or_else(|error| panic!("no program: {error}"));
        // target/<profile>/deps/suite-<digest>, or target/<profile>/orphans
        let folder = tests.parent().and_then(|folder| {
            if folder.ends_with("deps") {
                folder.parent()
            } else {
                Some(folder)
            }
        });
        let Some(folder) = folder else {
            panic!("{} is not where cargo puts tests", tests.display())
        };
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut command = Command::new(cargo);
            command
                .args(["build", "--quiet", "--package", "ratchet-cli"])
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
            if let Some(target) = folder.parent() {
                command.arg("--target-dir").arg(target);
            }
            match folder.file_name().and_then(|name| name.to_str()) {
                Some("debug") | None => {}
                Some(profile) => {
                    command.args(["--profile", profile]);
                }
            }
            let built = command.status();
            assert!(
                built.as_ref().is_ok_and(std::process::ExitStatus::success),
                "ratchet cannot be built: {built:?}"
            );
        }
        let path = folder.join("ratchet");
        assert!(
            path.is_file(),
            "{} is not there: `cargo build` makes it",
            path.display()
        );
        path
    })
}
