//! Filters that do not answer each line with a line at once.

use ratchet_tests::{Ended, Folder, Ratchet, Signal};
use serde_json::Value;

fn map(folder: &Folder, words: &[&str], stdin: &str) -> Ended {
    let call = Ratchet::within(folder).args(["map", "--warm", "-k"]);
    call.args(words).stdin(stdin).run()
}

fn lines(from: u32, to: u32) -> String {
    let lines: Vec<String> = (from..=to).map(|number| format!("{number}\n")).collect();
    lines.concat()
}

/// Turns result lines into `id status class`.
pub(super) fn results(ended: &Ended) -> Vec<String> {
    let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
    let results = document["results"].as_array().expect("results");
    let told = results.iter().map(|result| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let (id, status) = (text(&result["id"]), text(&result["status"]));
        format!("{id} {status} {}", text(&result["error"]["class"]))
    });
    told.collect()
}

fn suspects(ended: &Ended) -> Vec<String> {
    let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
    let ids = document["summary"]["suspects"].as_array();
    let ids = ids.into_iter().flatten();
    ids.map(|id| id.as_str().expect("an id").to_owned())
        .collect()
}

/// Whether a program is installed. If it is not, that part of the test is left out.
fn present(program: &str) -> bool {
    let path = std::env::var_os("PATH").expect("a path");
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

#[test]
fn a_filter_that_prints_more_lines_than_it_reads_gives_no_results() {
    let banner = "echo welcome; while read -r line; do echo $line; done";
    for (filter, items) in [
        (&["sed", "-u", "p"][..], "1\n2\n3\n"),
        (&["sh", "-c", banner], "1\n2\n3\n"),
        (
            &["sh", "-c", "while read -r line; do echo $line; echo; done"],
            "1\n",
        ),
        (
            &["jq", "-c", "--unbuffered", ".a[]"],
            "{\"a\":[1,2]}\n{\"a\":[3,4]}\n",
        ),
    ] {
        if !present(filter[0]) {
            continue;
        }
        let words = [&["-j1", "-q", "--format", "json", "--"], filter].concat();
        let ended = map(&Folder::new(), &words, items).with_code(100);
        for result in results(&ended) {
            assert!(result.ends_with(" failed protocol"), "{filter:?}: {result}");
        }
        assert!(suspects(&ended).is_empty(), "nothing was delivered");
        let said = ended.stdout();
        for advice in ["leave out --warm", "--skip-lines"] {
            assert!(said.contains(advice), "{said}");
        }
    }
}

#[test]
fn a_declared_number_of_banner_lines_is_skipped() {
    let filter = "echo welcome; echo; while read -r line; do echo $line; done";
    let words = ["-q", "-j2", "--skip-lines", "2", "--", "sh", "-c", filter];
    let ended = map(&Folder::new(), &words, "1\n2\n3\n").with_code(0);
    assert_eq!(ended.stdout(), "1\n2\n3\n");

    let file = format!(
        "workers:\n  echo: {{ command: [sh, -c, \"{filter}\"], protocol: lines, skip_lines: 2 }}\n\
         jobs:\n  - {{ id: a, task: echo, input: x }}\n"
    );
    let folder = Folder::new().file("jobs.yaml", file);
    let run = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]);
    let said = run.run().with_code(0).stdout();
    assert!(said.contains("\"result\":\"x\""), "{said}");

    let filter = format!("sh -c '{filter}'");
    let words = ["run", "-q", "-w", &filter, "--protocol", "lines"];
    let run = Ratchet::new().args(words).args(["--skip-lines", "2"]);
    let said = run.stdin("{\"task\":\"t\",\"input\":\"x\"}\n").run();
    assert!(said.with_code(0).stdout().contains("\"result\":\"x\""));
}

#[test]
fn lines_to_skip_are_refused_for_workers_that_are_no_filters() {
    let run = Ratchet::new().args(["run", "-w", "cat", "--protocol", "ratchet"]);
    let run = run.args(["--skip-lines", "1"]).stdin("");
    let said = run.run().with_code(2).stderr();
    assert!(said.contains("--protocol lines"), "{said}");
    let file = "workers:\n  echo: { command: cat, skip_lines: 1 }\njobs: [{ task: echo }]\n";
    let folder = Folder::new().file("jobs.yaml", file);
    let said = Ratchet::within(&folder).args(["check", "jobs.yaml"]).run();
    let said = said.with_code(2).stderr();
    assert!(said.contains("protocol: lines"), "{said}");
}

/// Answers each line, and prints one too many at its end unless there is a file `mended`.
const LATE: &str = "while read -r line; do echo $line; done; test -e mended || echo surplus";

#[test]
fn results_of_a_filter_that_proves_out_of_step_are_suspect_and_done_again() {
    let folder = Folder::new();
    let words = ["-j1", "--format", "json", "--", "sh", "-c", LATE];
    let ended = map(&folder, &words, &lines(1, 5)).with_code(100);
    let mut expected: Vec<String> = (1..5).map(|id| format!("{id} succeeded -")).collect();
    expected.push("5 failed protocol".to_owned());
    assert_eq!(results(&ended), expected);
    // The first was believed after a moment of quiet.
    assert_eq!(suspects(&ended), ["2", "3", "4"]);
    let said = ended.stderr();
    assert!(said.contains("3 x suspect"), "{said}");
    assert!(said.contains("ratchet resume"), "{said}");

    let run = said.split("ratchet resume ").nth(1).expect("a command");
    let run = run.split(' ').next().expect("an id");
    let shown = Ratchet::within(&folder).args(["runs", "show", run, "--format", "json"]);
    let shown = shown.run().stdout();
    assert!(shown.contains("its result is suspect"), "{shown}");

    let folder = folder.file("mended", "");
    let resume = Ratchet::within(&folder).args(["resume"]);
    let ended = resume.stdin(lines(1, 5)).run().with_code(0);
    let said = ended.stderr();
    assert!(
        said.contains("1 had succeeded before, 4 had failed"),
        "{said}"
    );
    assert!(
        results(&ended)
            .iter()
            .all(|one| one.ends_with("succeeded -"))
    );
}

#[test]
fn resume_does_only_the_suspects_of_a_map_again_wherever_their_items_stand() {
    // Each line that the filter is asked is written to a file as well.
    let filter = "while read -r line; do echo $line >> asked; echo $line; done; \
                  test -e mended || echo surplus";
    let folder = Folder::new();
    let asked = || {
        let asked = std::fs::read_to_string(folder.at("asked")).expect("it was asked");
        std::fs::remove_file(folder.at("asked")).expect("it is there");
        asked
    };
    let words = ["-q", "-j1", "--format", "json", "--", "sh", "-c", filter];
    let ended = map(&folder, &words, &lines(1, 5)).with_code(100);
    assert_eq!(suspects(&ended), ["2", "3", "4"]);
    assert_eq!(asked(), lines(1, 5));

    // All items have other numbers than before, so only their identities tell which they are.
    std::fs::write(folder.at("mended"), "").expect("it is written");
    let resume = Ratchet::within(&folder).args(["resume"]);
    let ended = resume.stdin(lines(0, 5)).run().with_code(0);
    assert_eq!(asked(), format!("0\n{}", lines(2, 5)), "1 is kept");
    assert!(suspects(&ended).is_empty());
    let expected: Vec<String> = (1..=6).map(|id| format!("{id} succeeded -")).collect();
    assert_eq!(results(&ended), expected);

    // The run is compacted by now, and what was suspect is not any more.
    let resume = Ratchet::within(&folder).args(["resume"]);
    let ended = resume.stdin(lines(0, 6)).run().with_code(0);
    assert_eq!(asked(), "6\n");
    assert_eq!(results(&ended).len(), 7);
}

#[test]
fn suspect_results_are_removed_from_the_cache() {
    let folder = Folder::new();
    let words = [
        "-j1", "-q", "--cache", "--format", "json", "--", "sh", "-c", LATE,
    ];
    let cached = || {
        let ended = map(&folder, &words, &lines(1, 5)).with_code(100);
        let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
        document["summary"]["cached"].as_u64()
    };
    assert_eq!(cached(), Some(0));
    // Only the first was surely right.
    assert_eq!(cached(), Some(1));
}

#[test]
fn a_filter_that_buffers_gives_its_results_and_is_warned_of_once() {
    let numbered = |number: u32| format!("{number}:{number}\n");
    std::thread::scope(|scope| {
        for (filter, answer) in [
            (
                &["sed", "s/^/x/"][..],
                (|number| format!("x{number}\n")) as fn(u32) -> String,
            ),
            (&["cut", "-c1-"], |number| format!("{number}\n")),
            (&["jq", "-c", "."], |number| format!("{number}\n")),
            (&["mawk", "{print $1 + 1}"], |number| {
                format!("{}\n", number + 1)
            }),
        ] {
            if !present(filter[0]) {
                continue;
            }
            scope.spawn(move || {
                let words = [&["-j2", "--"], filter].concat();
                let ended = map(&Folder::new(), &words, &lines(1, 20)).with_code(0);
                let expected: String = (1..=20).map(answer).collect();
                assert_eq!(ended.stdout(), expected, "{filter:?}");
                let said = ended.stderr();
                assert_eq!(said.matches("may buffer its output").count(), 1, "{said}");
                assert!(said.contains("stdbuf -oL"), "{said}");
            });
        }
        scope.spawn(|| {
            let words = ["-j1", "-q", "--", "grep", "-n", "."];
            let ended = map(&Folder::new(), &words, &lines(1, 20)).with_code(0);
            let expected: String = (1..=20).map(numbered).collect();
            assert_eq!(ended.stdout(), expected);
        });
        // Blocks of output end in the middle of a line, and come long before the input ends.
        scope.spawn(|| {
            let long = "x".repeat(1000);
            let items = format!("{long}\n").repeat(40);
            let ended = map(
                &Folder::new(),
                &["-j1", "-q", "--", "sed", "s/^/x/"],
                &items,
            );
            let expected = items.replace(&long, &format!("x{long}"));
            assert_eq!(ended.with_code(0).stdout(), expected);
        });
        // A timeout is for items that are being worked on, not for those that wait in the pipe.
        scope.spawn(|| {
            let words = ["-j1", "-q", "--timeout", "20s", "--", "cut", "-c1-"];
            let ended = map(&Folder::new(), &words, &lines(1, 3)).with_code(0);
            assert_eq!(ended.stdout(), lines(1, 3));
        });
    });
}

#[test]
fn a_filter_that_buffers_and_drops_lines_fails_instead_of_shifting_its_answers() {
    let words = ["-j1", "-q", "--format", "json", "--", "grep", "-v", "3"];
    let ended = map(&Folder::new(), &words, &lines(1, 8)).with_code(100);
    let told = results(&ended);
    let failed = told
        .iter()
        .filter(|one| one.ends_with("failed protocol"))
        .count();
    assert!(failed >= 2, "{told:?}");
    let suspects = suspects(&ended).len();
    assert_eq!(failed + suspects, 8, "all are in doubt: {told:?}");
    let said = ended.stdout();
    assert!(said.contains("printed 7 lines for 8 items"), "{said}");
}

/// Returns the ids of the jobs that are told as right, and checks that each has the answer to its own item. The filter
/// has to answer each item with the item.
fn surely_right(ended: &Ended) -> Vec<String> {
    let document: Value = serde_json::from_str(&ended.stdout()).expect("a document");
    let suspects = suspects(ended);
    let results = document["results"].as_array().expect("results");
    let mut right = Vec::new();
    for result in results.iter().filter(|one| one["status"] == "succeeded") {
        let id = result["id"].as_str().expect("an id").to_owned();
        if !suspects.contains(&id) {
            assert_eq!(result["result"], result["item"], "told as right: {result}");
            right.push(id);
        }
    }
    right
}

/// Answers each line at once, but leaves out those that end in 5 unless there is a file `mended`.
const LEAVES_OUT: &str = "while read -r line; do case $line in \
                          *5) test -e mended && echo $line;; *) echo $line;; esac; done";

#[test]
fn no_answer_is_told_as_right_after_a_filter_that_left_a_line_out_crashes() {
    let filter = "n=0; out=; while read -r line; do n=$((n + 1)); test $n = 3 || out=\"$out$line \"; \
                  test $n = 8 && { printf '%s\\n' $out; exit 1; }; done; printf '%s\\n' $out";
    let words = ["-q", "-j1", "--format", "json", "--", "sh", "-c", filter];
    let ended = map(&Folder::new(), &words, &lines(1, 9)).with_code(100);
    let right = surely_right(&ended);
    assert!(
        right.iter().all(|id| id == "9"),
        "another filter had it: {right:?}"
    );
    assert_eq!(suspects(&ended), ["1", "2", "3", "4", "5", "6"]);
    let told = results(&ended);
    assert_eq!(told[6], "7 failed protocol", "it was held: {told:?}");
    let said = ended.stdout();
    // Its input may have been closed just before it crashed, and then it has been sent the last item, too.
    assert!(said.contains("printed 7 lines for"), "{said}");
}

#[test]
fn no_answer_is_told_as_right_or_cached_after_a_filter_that_left_a_line_out_is_timed_out() {
    let folder = Folder::new();
    let run = |options: &[&str]| {
        let words = [
            &[
                "-q",
                "-j1",
                "--timeout",
                "1s",
                "--cache",
                "--format",
                "json",
            ],
            options,
            &["--", "sh", "-c", LEAVES_OUT],
        ];
        map(&folder, &words.concat(), &lines(1, 40))
    };
    let ended = run(&["--prefetch", "5"]).with_code(100);
    surely_right(&ended);
    assert!(!suspects(&ended).is_empty(), "{}", ended.stdout());

    // What is cached was right. The filter now has one item at a time, so it is clear which ones it leaves out.
    let ended = run(&["--prefetch", "0"]).with_code(100);
    let left_out = ["5", "15", "25", "35"];
    assert_eq!(surely_right(&ended).len(), 40 - left_out.len());
    assert!(suspects(&ended).is_empty(), "{}", ended.stdout());
    for id in left_out {
        let failed = format!("{id} timed_out timeout");
        assert!(results(&ended).contains(&failed), "{:?}", results(&ended));
    }
}

#[test]
fn resume_keeps_no_answer_of_a_filter_that_left_a_line_out_and_was_cancelled() {
    let folder = Folder::new();
    let call = Ratchet::within(&folder).args(["map", "--warm", "-j1", "--prefetch", "5"]);
    let call = call.args(["--format", "json", "--grace", "0s", "--"]);
    let running = (call.args(["sh", "-c", LEAVES_OUT]).stdin(lines(1, 40))).start();
    // Of 40 items, four are left out.
    running.wait_for_stdout("\"item\":\"36\"");
    running.signal(Signal::Interrupt);
    let ended = running.wait().with_code(130);
    surely_right(&ended);

    let folder = folder.file("mended", "");
    let resume = Ratchet::within(&folder).args(["resume"]);
    let ended = resume.stdin(lines(1, 40)).run().with_code(0);
    assert_eq!(surely_right(&ended).len(), 40);
}

#[test]
fn a_filter_in_step_that_is_timed_out_for_one_item_has_answered_the_others_rightly() {
    let filter = "while read -r line; do test $line = 5 && sleep 100; echo $line; done";
    let words = [
        "-q",
        "-j1",
        "--timeout",
        "1s",
        "--format",
        "json",
        "--",
        "sh",
        "-c",
        filter,
    ];
    let ended = map(&Folder::new(), &words, &lines(1, 9)).with_code(100);
    assert!(suspects(&ended).is_empty(), "{}", ended.stdout());
    assert_eq!(surely_right(&ended).len(), 8);
    assert_eq!(results(&ended)[4], "5 timed_out timeout");
}

#[test]
fn a_filter_that_leaves_out_a_line_is_told_of_and_fails_that_item_when_no_items_remain() {
    std::thread::scope(|scope| {
        for (workers, left_out) in [("-j1", 10), ("-j2", 5)] {
            for filter in [
                format!("grep --line-buffered -vx {left_out}"),
                format!("sed -u /^{left_out}$/d"),
                format!("while read -r line; do test $line = {left_out} || echo $line; done"),
            ] {
                scope.spawn(move || {
                    let filter = if filter.starts_with("while") {
                        filter
                    } else {
                        format!("exec {filter}")
                    };
                    let words = [workers, "--format", "json", "--", "sh", "-c", &filter];
                    let ended = map(&Folder::new(), &words, &lines(1, 10)).with_code(100);
                    let failed: Vec<_> = results(&ended)
                        .into_iter()
                        .filter(|one| !one.ends_with("succeeded -"))
                        .collect();
                    assert_eq!(failed, [format!("{left_out} failed protocol")], "{filter}");
                    assert_eq!(surely_right(&ended).len(), 9, "{filter}");
                    let said = ended.stderr();
                    assert_eq!(
                        said.matches("now prints nothing for its item").count(),
                        1,
                        "{said}"
                    );
                });
            }
        }
        // While items remain, it is waited for. It is told of, and the run can be stopped.
        scope.spawn(|| {
            let folder = Folder::new();
            let call =
                Ratchet::within(&folder).args(["map", "--warm", "-j1", "-k", "--grace", "0s"]);
            let call = call.args(["--", "grep", "--line-buffered", "-v", "5"]);
            let running = call.stdin(lines(1, 10)).start();
            running.wait_for_stderr("now prints nothing for its item");
            running.signal(Signal::Interrupt);
            let ended = running.wait().with_code(130);
            assert_eq!(ended.stdout(), lines(1, 4));
        });
        // A slow last item is only slow.
        scope.spawn(|| {
            let filter = "while read -r line; do test $line = 5 && sleep 4; echo $line; done";
            let ended = map(
                &Folder::new(),
                &["-j1", "--", "sh", "-c", filter],
                &lines(1, 5),
            );
            assert_eq!(ended.with_code(0).stdout(), lines(1, 5));
        });
    });
}
