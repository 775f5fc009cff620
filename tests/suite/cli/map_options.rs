//! Options of `ratchet map` that people know from other programs.

use ratchet_tests::{Ended, Folder, Ratchet};

use super::job_control::on_controlling_terminal;

fn map(folder: &Folder, words: &[&str]) -> Ended {
    Ratchet::within(folder)
        .args(["map", "-k"])
        .args(words)
        .run()
}

fn printed(words: &[&str]) -> String {
    let ended = map(&Folder::new(), &[&["-q"], words].concat());
    ended.with_code(0).quiet().stdout()
}

/// Fails if another command holds the folder that its first argument names.
const ALONE: &str = "mkdir lock-$0 || exit 9; sleep 0.2; rmdir lock-$0";

/// Ends when as many commands run at once as its first argument says, and fails if they never do.
const TOGETHER: &str = "touch up-$1; for i in $(seq 200); do test $(ls up-* | wc -l) -ge $0 && exit; sleep 0.05; done; exit 9";

#[test]
fn the_host_and_the_hint_of_a_job_depend_on_its_item() {
    let host = printed(&[
        "--host",
        "web{1}",
        "--",
        "sh",
        "-c",
        "echo $RATCHET_HOST",
        ":::",
        "1",
    ]);
    assert_eq!(host, "web1\n");
    let hint = [
        "-j4", "--host", "{1}", "--hint", "{2}", "--", "sh", "-c", ALONE, "{1}",
    ];
    let exclusive = [":::", "a", "a", "a", ":::", "host_exclusive"];
    assert_eq!(printed(&[&hint[..], &exclusive].concat()), "");
    let unknown = map(
        &Folder::new(),
        &["-q", "--hint", "{}", "--", "true", ":::", "alone", "lonely"],
    );
    assert!(
        unknown
            .with_code(100)
            .stderr()
            .contains("unknown hint `lonely`")
    );
    let refused = Ratchet::new()
        .args(["run", "--hint", "{1}", "-"])
        .stdin("{\"run\": [\"true\"]}\n")
        .run()
        .with_code(2);
    assert!(
        refused.stderr().contains("ratchet map"),
        "{}",
        refused.stderr()
    );
}

#[test]
fn a_named_limit_is_defined_where_it_is_used() {
    let limited = [
        "-j4", "--limit", "one=1", "--", "sh", "-c", ALONE, "x", ":::", "1", "2", "3",
    ];
    assert_eq!(printed(&limited), "");
    let refused = map(
        &Folder::new(),
        &["--limit", "api", "--", "true", ":::", "a"],
    )
    .with_code(2);
    assert!(
        refused.stderr().contains("--limit api=10/s"),
        "{}",
        refused.stderr()
    );
    let job = format!("{{\"run\": [\"sh\", \"-c\", \"{ALONE}\", \"x\"]}}\n");
    let run = |words: &[&str]| Ratchet::new().args(["run", "-q", "-j4"]).args(words);
    let _ = run(&["--limit", "one=1", "-"])
        .stdin(job.repeat(3))
        .run()
        .with_code(0);
    let refused = run(&["--limit", "api", "-"]).stdin(job).run().with_code(2);
    assert!(
        refused.stderr().contains("`limits` of the file"),
        "{}",
        refused.stderr()
    );
}

#[test]
fn commands_are_as_nice_as_they_are_asked_to_be() {
    let niceness = |options: &[&str]| {
        let words = [options, &["--", "sh", "-c", "nice", "{}", ":::", "a"]].concat();
        printed(&words).trim().parse::<i32>().unwrap()
    };
    let usual = niceness(&[]);
    assert_eq!(niceness(&["--nice", "7"]), (usual + 7).min(19));
}

#[test]
fn items_come_in_random_order_and_none_is_lost() {
    let items: Vec<String> = (100..200).map(|number| number.to_string()).collect();
    let words: Vec<&str> = ["--shuf", "-n1000", "--", "echo", ":::"]
        .into_iter()
        .chain(items.iter().map(String::as_str))
        .collect();
    let shuffled = printed(&words);
    let mut sorted: Vec<&str> = shuffled.split_whitespace().collect();
    assert_ne!(sorted, items);
    sorted.sort_unstable();
    assert_eq!(sorted, items);
}

#[test]
fn lines_begin_with_a_text_that_is_filled_in() {
    for buffered in [&[][..], &["--line-buffer", "-j1"]] {
        let folder = Folder::new();
        let call = Ratchet::within(&folder).args(["map", "-q"]).args(buffered);
        let call = call.args(["--tagstring", "{#}:{/}", "--", "echo", "x{}", ":::", "a/b"]);
        assert_eq!(call.run().with_code(0).stdout(), "1:b\txa/b\n");
    }
    let refused = map(
        &Folder::new(),
        &["--tagstring", "{%}", "--", "echo", ":::", "a"],
    );
    assert!(refused.with_code(2).stderr().contains("slot"));
}

#[test]
fn the_number_of_jobs_is_typed_in_many_forms() {
    let together = |jobs: &str, folder: Folder| {
        let script = ["--", "sh", "-c", TOGETHER, "3", "{}", ":::", "1", "2", "3"];
        map(&folder, &[&["-q", "-j", jobs][..], &script].concat())
    };
    for jobs in ["0", "+2", "300%"] {
        let _ = together(jobs, Folder::new()).with_code(0);
    }
    let _ = together("jobs", Folder::new().file("jobs", "3\n")).with_code(0);
    let one = ["-j", "-999", "--", "sh", "-c", ALONE, "x", ":::", "1", "2"];
    assert_eq!(printed(&one), "");
    let wrong = together("jobs", Folder::new().file("jobs", "many\n")).with_code(2);
    assert!(
        wrong.stderr().contains("is not a number of jobs: `many`"),
        "{}",
        wrong.stderr()
    );
}

#[test]
fn a_load_in_percent_is_that_of_the_cores() {
    assert_eq!(
        printed(&["--load", "1000000%", "--", "echo", ":::", "a"]),
        "a\n"
    );
}

#[test]
fn commands_run_that_are_allowed_on_the_terminal() {
    // Without -q, a key that is pressed would ask what runs, if it were not an answer.
    for quiet in [&["-q"][..], &[]] {
        let folder = Folder::new();
        let call = on_controlling_terminal(&folder).args(["map"]).args(quiet);
        let call = call.args(["-p", "--", "touch", ":::", "a", "b"]);
        let running = call.start();
        let _ = running.wait_for_screen("touch a ?...");
        running.type_on_terminal("y\n");
        let _ = running.wait_for_screen("touch b ?...");
        running.type_on_terminal("n\n");
        let _ = running.wait().with_code(0);
        assert!(folder.at("a").exists() && !folder.at("b").exists());
    }
}

#[test]
fn a_map_whose_commands_are_all_refused_says_so() {
    let folder = Folder::new();
    let call = on_controlling_terminal(&folder).args(["map", "-p", "--", "touch", ":::", "a"]);
    let running = call.start();
    let _ = running.wait_for_screen("touch a ?...");
    running.type_on_terminal("n\n");
    let _ = running.wait_for_screen("no command was allowed: nothing to do");
    let _ = running.wait().with_code(4);
    assert!(!folder.at("a").exists());
}

#[test]
fn results_are_rows_of_a_file_if_its_name_says_so() {
    let folder = Folder::new();
    let call = |name: &str| {
        let script = "echo \"out $0\"; exit $1";
        let words = [
            "-q",
            "--results",
            name,
            "--",
            "sh",
            "-c",
            script,
            "{1}",
            "{2}",
        ];
        let items = [":::", "a,b", ":::", "0", "3"];
        let _ = map(&folder, &[&words[..], &items].concat()).with_code(100);
        std::fs::read_to_string(folder.at(name)).unwrap()
    };
    let rows = call("out.csv");
    let row = ",\"a,b\",\"0\",\"out a,b\n\",\"\"\n";
    assert!(
        rows.starts_with("Seq,Host,") && rows.contains(row),
        "{rows}"
    );
    assert!(call("out.tsv").contains("\t3\t0\t\"sh -c"));
    assert_eq!(call("out.jsonl").lines().count(), 2);
    let _ = Ratchet::within(&folder)
        .args(["resume", "-q"])
        .run()
        .with_code(100);
    let lines = std::fs::read_to_string(folder.at("out.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let over = ["-q", "-a", "out.csv", "--results", "out.csv", "--", "true"];
    let over = map(&folder, &over).with_code(2);
    assert!(
        over.stderr().contains("would overwrite"),
        "{}",
        over.stderr()
    );
}

#[test]
fn a_command_that_takes_a_multiple_of_the_usual_time_is_ended() {
    let folder = Folder::new();
    let words = [
        "-q",
        "-j4",
        "--timeout",
        "500%",
        "--format",
        "jsonl",
        "--",
        "sleep",
        ":::",
    ];
    let items = ["0.1", "0.1", "0.1", "600"];
    let ended = map(&folder, &[&words[..], &items].concat()).with_code(100);
    assert_eq!(
        ended.stdout().matches("\"timed_out\"").count(),
        1,
        "{}",
        ended.stdout()
    );
    let job = "{\"run\": [\"true\"]}\n";
    let refused = Ratchet::new()
        .args(["run", "--timeout", "200%", "-"])
        .stdin(job)
        .run();
    assert!(refused.with_code(2).stderr().contains("ratchet map"));
}

#[test]
fn the_number_of_jobs_follows_its_file_while_the_run_goes_on() {
    let folder = Folder::new().file("jobs", "1\n");
    let script = ["--", "sh", "-c", TOGETHER, "3", "{}", ":::", "1", "2", "3"];
    let call = Ratchet::within(&folder)
        .args(["map", "-q", "-j", "jobs"])
        .args(script);
    let running = call.start();
    running.until("the first command runs", || folder.at("up-1").exists());
    std::fs::write(folder.at("jobs"), "3\n").unwrap();
    let _ = running.wait().with_code(0);
}
