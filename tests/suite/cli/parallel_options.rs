//! Options of GNU parallel and xargs that `ratchet map` takes, with what those programs print for them.

use std::process::{Command, Stdio};

use ratchet_tests::{Ended, Folder, Ratchet};

fn map(words: &[&str], stdin: &str) -> Ended {
    Ratchet::new()
        .args(["map", "-q", "-k", "-j1"])
        .args(words)
        .stdin(stdin)
        .run()
}

fn printed(words: &[&str], stdin: &str) -> String {
    map(words, stdin).with_code(0).stdout()
}

/// Returns what GNU parallel prints, if this machine has it.
fn theirs(words: &[&str], stdin: &str) -> Option<String> {
    use std::io::Write;
    let mut command = Command::new("parallel");
    command
        .args(["--will-cite", "-k", "-j1"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = command.spawn().ok()?;
    let mut input = process.stdin.take().expect("its stdin is a pipe");
    input
        .write_all(stdin.as_bytes())
        .expect("it reads its stdin");
    drop(input);
    let output = process.wait_with_output().expect("it ends");
    Some(String::from_utf8(output.stdout).expect("it prints UTF-8"))
}

/// Checks what is printed for these words, by ratchet and by GNU parallel.
fn assert_same(words: &[&str], stdin: &str, expected: &str) {
    assert_eq!(printed(words, stdin), expected, "{words:?}");
    let split = words.iter().position(|word| *word == "--");
    let (options, command) = words.split_at(split.expect("the words have a `--`"));
    let options = options.iter().map(|option| match *option {
        "--header" => "--header=:",
        other => other,
    });
    let words: Vec<&str> = options.chain(command[1..].iter().copied()).collect();
    if let Some(theirs) = theirs(&words, stdin) {
        assert_eq!(theirs, expected, "GNU parallel {words:?}");
    }
}

#[test]
fn a_word_is_repeated_for_each_item_or_the_items_stand_in_its_place() {
    let gifs = "1.gif\n2.gif\n3.gif\n";
    let words = |option| [option, "--", "echo", "a{}b{.}c"];
    assert_same(&words("-X"), gifs, "a1.gifb1c a2.gifb2c a3.gifb3c\n");
    assert_same(&words("-m"), gifs, "a1.gif 2.gif 3.gifb1 2 3c\n");
    let limited = ["-X", "-n", "2", "--", "echo"];
    assert_same(&limited, gifs, "1.gif 2.gif\n3.gif\n");
}

#[test]
fn the_length_of_a_command_counts_what_its_items_become() {
    let gifs: Vec<String> = (1..=15).map(|number| format!("{number}.gif\n")).collect();
    let gifs = gifs.concat();
    let words = |option| [option, "-s", "80", "--", "echo", "a{}b{.}c{.}"];
    assert_same(
        &words("-X"),
        &gifs,
        "a1.gifb1c1 a2.gifb2c2 a3.gifb3c3 a4.gifb4c4 a5.gifb5c5 a6.gifb6c6\n\
         a7.gifb7c7 a8.gifb8c8 a9.gifb9c9 a10.gifb10c10 a11.gifb11c11 a12.gifb12c12\n\
         a13.gifb13c13 a14.gifb14c14 a15.gifb15c15\n",
    );
    assert_same(
        &words("-m"),
        &gifs,
        "a1.gif 2.gif 3.gif 4.gif 5.gif 6.gif 7.gifb1 2 3 4 5 6 7c1 2 3 4 5 6 7\n\
         a8.gif 9.gif 10.gif 11.gif 12.gif 13.gifb8 9 10 11 12 13c8 9 10 11 12 13\n\
         a14.gif 15.gifb14 15c14 15\n",
    );
}

#[test]
fn blank_items_and_blocks_are_left_out_if_that_is_asked_for() {
    assert_same(&["-r", "--", "echo", "x{}"], "a\n \t\nb\n", "xa\nxb\n");
    let blocks = ["-r", "--pipe", "-N1", "--", "cat"];
    assert_same(&blocks, "a\n\nb\n", "a\nb\n");
    let nothing = map(&["-r", "--pipe", "--", "cat"], "\n \n");
    assert_eq!(nothing.with_code(4).stdout(), "");
    let refused = map(&["-r", "--csv", "--", "echo"], "");
    assert!(refused.with_code(2).stderr().contains("--csv"));
}

#[test]
fn a_text_ends_the_items_of_its_file_or_list() {
    assert_same(&["-E", "END", "--", "echo"], "a\nEND\nb\n", "a\n");
    let lists = ["-E", "END", "--", "echo", ":::", "a", "b", "END", "c"];
    assert_same(&lists, "", "a\nb\n");
}

#[test]
fn a_line_that_ends_with_a_blank_goes_on_in_the_next_one_with_l() {
    let lines = "foo\nole \nbar\nquux\n";
    assert_same(&["-L", "2", "--", "echo"], lines, "foo ole bar\nquux\n");
    let words = ["-L", "2", "--", "echo", ":::", "foo", "ole ", "bar", "quux"];
    assert_same(&words, "", "foo ole bar\nquux\n");
    let cut = ["-L", "1", "-E", "bar", "--", "echo", "x{}y"];
    assert_same(&cut, lines, "xfooy\nxole y\n");
    assert_eq!(
        printed(&["-n", "1", "--", "echo", "<{}>"], "a \nb\n"),
        "<a >\n<b>\n"
    );
}

#[test]
fn another_text_can_stand_for_the_item() {
    let words = ["-I", ",,", "--", "echo", "<,,>", "{}", "{/}"];
    assert_eq!(printed(&words, "x/a\n"), "<x/a> {} a\n");
    let refused = map(&["-I", "FILE", "--", "echo", ":::", "FILE"], "");
    assert!(refused.with_code(2).stderr().contains("has no `FILE`"));
    let refused = map(&["-I", "", "--", "echo"], "");
    assert!(refused.with_code(2).stderr().contains("the text is empty"));
}

#[test]
fn columns_are_counted_from_the_last_one() {
    let words = [
        "--colsep", " ", "--", "echo", "{-1}{1}", "{-2}", ":::", "a b c",
    ];
    assert_same(&words, "", "ca b\n");
    let group = ["-N", "3", "--", "echo", "{-1}{1}"];
    assert_same(&group, "a\nb\nc\n", "ca\n");
    let refused = map(&["--", "echo", "{-2}", ":::", "a"], "").with_code(2);
    assert!(refused.stderr().contains("there is no {-2}"));
}

#[test]
fn a_script_does_not_repeat_a_word_and_says_how_to_do_it() {
    let words = |option| [option, "--shell", "--", "echo a{}b | tr a x"];
    let refused = map(&words("-X"), "1\n2\n").with_code(2);
    assert!(refused.stderr().contains("-m"), "{}", refused.stderr());
    assert_eq!(printed(&words("-m"), "1\n2\n"), "x1 2b\n");
}

#[test]
fn a_command_that_gets_no_item_runs_once_for_each() {
    assert_same(
        &["-n", "0", "--", "echo", "x", "{#}"],
        "a\nb\n",
        "x 1\nx 2\n",
    );
    for words in [
        &["-n0", "--", "echo", "{}"][..],
        &["-N0", "--pipe", "--", "cat"],
    ] {
        let refused = map(words, "a\n").with_code(2);
        assert!(refused.stderr().contains(" 0"), "{}", refused.stderr());
    }
    let printed = map(&["-n0", "--dry-run", "--", "echo"], "a\n").with_code(0);
    assert_eq!(printed.stdout(), "echo\n");
}

#[test]
fn files_of_items_are_lists_before_the_others() {
    let folder = Folder::new().file("digits", "1\n2\n");
    let ended = Ratchet::within(&folder)
        .args(["map", "-qk", "-a", "digits", "--", "echo", ":::", "a", "b"])
        .run()
        .with_code(0);
    assert_eq!(ended.stdout(), "1 a\n1 b\n2 a\n2 b\n");
    let refused = map(&["--csv", "--", "echo", ":::", "a"], "").with_code(2);
    assert!(refused.stderr().contains("--csv"));
}

#[test]
fn the_name_of_results_has_no_placeholder() {
    let words = ["--results", "out-{}", "--", "echo", ":::", "a"];
    let refused = map(&words, "").with_code(2);
    assert!(
        refused.stderr().contains("placeholder"),
        "{}",
        refused.stderr()
    );
}

#[test]
fn the_first_item_of_a_list_or_file_is_its_name_if_there_is_a_header() {
    let lists = [
        "--header",
        "--",
        "echo",
        "{size}-{2}",
        ":::",
        "size",
        "1",
        "2",
        ":::",
        "name",
        "a",
    ];
    assert_same(&lists, "", "1-a\n2-a\n");
    assert_same(&["--header", "--", "echo", "{n}{n/}"], "n\nx/y\n", "x/yy\n");
    let tabs = ["--header", "--", "echo", "{b}", "{a}"];
    assert_same(&tabs, "a\tb\n1\tone\n", "one 1\n");
    let refused = map(
        &["--header", "--", "echo", ":::", "n", "1", ":::", "n", "2"],
        "",
    );
    assert!(
        refused
            .with_code(2)
            .stderr()
            .contains("two lists have the name `n`")
    );
}

#[test]
fn commands_are_printed_when_they_start_if_that_is_asked_for() {
    let ended = map(&["-t", "--", "echo", "{}", "x y", ":::", "a", "it's"], "").with_code(0);
    assert_eq!(ended.stdout(), "a x y\nit's x y\n");
    assert_eq!(ended.stderr(), "echo a 'x y'\necho 'it'\\''s' 'x y'\n");
    let words = ["-t=stdout", "--", "echo", "{}", "x y", ":::", "a", "b"];
    let printed = map(&words, "").with_code(0).stdout();
    assert_eq!(printed, "echo a 'x y'\na x y\necho b 'x y'\nb x y\n");
    let live = [&["--line-buffer"], &words[..]].concat();
    let refused = Ratchet::new().args(["map"]).args(live).run().with_code(2);
    assert!(refused.stderr().contains("-t=stdout"));
    let silent = map(&["--", "echo", ":::", "a"], "").with_code(0);
    assert_eq!(silent.stderr(), "");
}

#[test]
fn a_shell_of_choice_knows_the_functions_of_bash() {
    let script = r#"
        greet() { echo "hello $1"; }
        export -f greet
        "$0" map -q -k --shell=bash -- greet ::: 'a  b' c
        "$0" map -q --shell=bash --env greet -- 'greet {#}' ::: x
        printf 'greet line\n' | "$0" map -q --shell=bash
    "#;
    let folder = Folder::new();
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(Ratchet::program())
        .env("XDG_STATE_HOME", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "hello a  b\nhello c\nhello 1\nhello line\n");
    for words in [
        &["--shell=no-such-shell", "--", "echo {}"][..],
        &["--shell=no-such-shell"],
    ] {
        let refused = map(words, "a\n").with_code(2);
        assert!(refused.stderr().contains("no-such-shell"), "{words:?}");
    }
}

#[test]
fn a_joblog_is_continued_if_a_plus_stands_before_its_name() {
    let folder = Folder::new();
    let log = |name: &str, item: &str| {
        let _ = Ratchet::within(&folder)
            .args(["map", "-q", "--joblog", name, "--", "echo", ":::", item])
            .run()
            .with_code(0);
        std::fs::read_to_string(folder.path().join("log")).unwrap()
    };
    assert_eq!(log("+log", "a").lines().count(), 2);
    let both = log("+log", "b");
    assert_eq!(both.lines().count(), 3, "{both}");
    assert!(both.ends_with("echo b\n"), "{both}");
    assert_eq!(log("log", "c").lines().count(), 2);
}

#[test]
fn the_last_of_a_repeated_option_counts() {
    let words = [
        "-k", "-k", "--tag", "--tag", "-j", "1", "--", "echo", ":::", "a",
    ];
    assert_eq!(printed(&words, ""), "a\ta\n");
}
