//! Flags that could have no effect.

use ratchet_tests::{Ended, Folder, Ratchet};

fn folder() -> Folder {
    let program = Ratchet::program().display();
    let worker = format!("command: [\"{program}\", worker], tasks: [echo]");
    Folder::new()
        .file("commands.yaml", "jobs: [{ run: [\"true\"] }]\n")
        .file("commands.jsonl", "{\"run\":[\"true\"]}\n")
        .file(
            "unused.yaml",
            format!("workers: {{ w: {{ {worker} }} }}\njobs: [{{ run: [\"true\"] }}]\n"),
        )
        .file(
            "said.yaml",
            format!("workers: {{ w: {{ {worker}, size: 1, prefetch: 3 }} }}\njobs: [{{ task: echo }}]\n"),
        )
        .file(
            "open.yaml",
            format!("workers: {{ w: {{ {worker} }} }}\njobs: [{{ task: echo }}, {{ run: [\"true\"] }}]\n"),
        )
}

fn call(words: &[&str]) -> Ended {
    Ratchet::within(&folder()).args(words).args(["-q"]).run()
}

#[test]
fn flags_for_workers_are_refused_for_a_file_without_workers() {
    for file in ["commands.yaml", "commands.jsonl", "unused.yaml"] {
        for flag in [["--workers", "2"], ["--prefetch", "auto"]] {
            let ended = call(&["run", file, flag[0], flag[1]]).with_code(2);
            assert!(ended.stdout.is_empty());
            let said = ended.stderr();
            let expected = format!(
                "ratchet: {} has no effect, because no job has a `task` for a worker process\n",
                flag[0]
            );
            assert!(said.starts_with(&expected), "{file}: {said}");
            assert!(said.contains("\n  help: "), "{said}");
        }
    }
    let said = call(&["run", "commands.yaml", "-w", "cat"])
        .with_code(2)
        .stderr();
    assert!(
        said.starts_with("ratchet: --worker has no effect, because no job has a `task`"),
        "{said}"
    );
}

#[test]
fn flags_for_workers_are_refused_if_every_worker_sets_them_itself() {
    for (flag, value, key) in [("--workers", "2", "size"), ("--prefetch", "1", "prefetch")] {
        let said = call(&["run", "said.yaml", flag, value])
            .with_code(2)
            .stderr();
        let expected =
            format!("{flag} has no effect, because every worker of this file sets `{key}`");
        assert!(said.contains(&expected), "{said}");
        let _ = call(&["run", "open.yaml", flag, value]).with_code(0);
    }
    let _ = call(&["run", "said.yaml", "--prefetch", "3"]).with_code(0);
}

#[test]
fn flags_for_workers_are_refused_for_a_map_of_commands() {
    for flag in [["--workers", "2"], ["--prefetch", "0"]] {
        let ended = Ratchet::new()
            .args(["map", flag[0], flag[1], "--", "true", ":::", "a"])
            .run();
        let said = ended.with_code(2).stderr();
        assert!(
            said.contains("applies to commands that keep running"),
            "{said}"
        );
        let warm = ["map", "--warm", flag[0], flag[1], "--", "cat", ":::", "a"];
        let ended = Ratchet::new().args(warm).run();
        assert_eq!(ended.with_code(0).stdout(), "a\n");
    }
}

#[test]
fn settings_that_a_run_does_not_use_are_not_refused() {
    for words in [&["run", "commands.yaml"][..], &["run", "said.yaml"]] {
        let call = Ratchet::within(&folder()).args(words);
        let call = call
            .env("RATCHET_WORKERS", "2")
            .env("RATCHET_PREFETCH", "0");
        let _ = call.run().with_code(0);
        let folder = folder().file("ratchet.toml", "workers = 2\nprefetch = 0\n");
        let _ = Ratchet::within(&folder).args(words).run().with_code(0);
    }
    let call = Ratchet::new().args(["map", "--", "true", ":::", "a"]);
    let _ = call.env("RATCHET_WORKERS", "2").run().with_code(0);
}
