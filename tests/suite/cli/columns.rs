//! Columns of items, lists in files, and replacements in `ratchet map`.

use ratchet_tests::{Ended, Folder, Ratchet};

fn map(folder: &Folder, words: &[&str], stdin: &str) -> Ended {
    let call = Ratchet::within(folder).args(["map", "-q", "-k"]);
    call.args(words).stdin(stdin).run()
}

/// Runs `ratchet map` in this folder, and returns what it prints.
fn printed(folder: &Folder, words: &[&str], stdin: &str) -> String {
    map(folder, words, stdin).with_code(0).quiet().stdout()
}

fn here(words: &[&str], stdin: &str) -> String {
    printed(&Folder::new(), words, stdin)
}

#[test]
fn items_are_cut_into_columns_at_separators_and_tabs() {
    let swapped = ["--", "echo", "{2}-{1}"];
    let cut = |flags: &[&str], stdin: &str| here(&[flags, &swapped].concat(), stdin);
    assert_eq!(cut(&["--colsep", ", *"], "a,b\nc,  d\n"), "b-a\nd-c\n");
    assert_eq!(cut(&["-C", " "], "a b\n"), "b-a\n");
    assert_eq!(cut(&["--tsv"], "a\tb c\n\"x\ty\"\tz\n"), "b c-a\nz-x\ty\n");
    let named = ["--header", "--colsep", ";", "--", "echo", "{who} {2}"];
    assert_eq!(here(&named, "who;what\na;b\n"), "a b\n");
    let lists = [
        "--colsep", "-", "--", "echo", "{3} {1}", ":::", "a-b", ":::", "c", "d",
    ];
    assert_eq!(here(&lists, ""), "c a\nd a\n");
    // Without a placeholder, each column is an argument.
    assert_eq!(
        here(&["-C", ",", "--", "printf", "<%s>"], "a b,c\n"),
        "<a b><c>"
    );
}

#[test]
fn an_item_with_another_number_of_columns_fails_and_the_others_run() {
    let ended = map(
        &Folder::new(),
        &["-C", ",", "--", "echo", "{2}"],
        "a,b\nc\nd,e\n",
    );
    assert_eq!(ended.with_code(100).stdout(), "b\ne\n");
}

#[test]
fn groups_of_an_expression_are_columns() {
    let words = [
        "--match",
        r"(?<name>.*)-(?<n>\d+)$",
        "--",
        "echo",
        "{name} {2}",
        ":::",
    ];
    let all = [&words[..], &["a-b-1", "none", "c-22"]].concat();
    let ended = map(&Folder::new(), &all, "");
    assert_eq!(ended.with_code(100).stdout(), "a-b 1\nc 22\n");
    // A group without a name has its number, as each group has.
    let mixed = ["--match", r"(?<nam>.*)-(\d)", "--", "echo"];
    let with = |word: &'static str| [&mixed[..], &[word, ":::", "a-1"]].concat();
    assert_eq!(here(&with("{nam} {1} {2}"), ""), "a a 1\n");
    let refused = map(&Folder::new(), &with("{nmae}"), "").with_code(2);
    assert!(
        refused.stderr().contains("did you mean {nam}?"),
        "{}",
        refused.stderr()
    );
    let refused = map(&Folder::new(), &["--match", "(", "--", "echo"], "").with_code(2);
    assert!(refused.stderr().contains("--match"), "{}", refused.stderr());
}

#[test]
fn items_end_with_the_text_that_is_named() {
    assert_eq!(
        here(&["-d", ",", "--", "printf", "<%s>"], "a,b c,,d\n"),
        "<a><b c><><d\n>"
    );
    assert_eq!(here(&["-d", r"\t", "--", "echo"], "a\tb"), "a\nb\n");
    assert_eq!(
        here(&["-d", r"\r\n", "--", "printf", "<%s>"], "a\rb\r\n\r\nc\n"),
        "<a\rb><><c\n>"
    );
    let refused = map(&Folder::new(), &["-d", "", "--", "echo"], "").with_code(2);
    assert!(refused.stderr().contains("no item would ever end"));
}

#[test]
fn files_after_four_colons_are_lists() {
    let folder = Folder::new()
        .file("letters", "a\nb\n")
        .file("digits", "1\n2\n");
    let echo = |lists: &[&str], stdin: &str| {
        let words = [&["--", "echo", "{}"][..], lists].concat();
        printed(&folder, &words, stdin).replace('\n', ",")
    };
    assert_eq!(echo(&["::::", "letters"], ""), "a,b,");
    assert_eq!(echo(&["::::", "letters", "digits"], ""), "a 1,a 2,b 1,b 2,");
    assert_eq!(
        echo(&["::::", "letters", "::::+", "digits"], ""),
        "a 1,b 2,"
    );
    assert_eq!(echo(&["::::+", "letters", "digits"], ""), "a 1,b 2,");
    assert_eq!(echo(&[":::", "x", "::::", "digits"], ""), "x 1,x 2,");
    assert_eq!(echo(&["::::", "-", ":::+", "8", "9"], "c\nd\n"), "c 8,d 9,");
    let missing = map(&folder, &["--", "echo", "::::", "none"], "").with_code(2);
    assert!(missing.stderr().contains("none"), "{}", missing.stderr());
}

#[test]
fn linked_lists_and_files_go_along_with_each_other() {
    let folder = Folder::new()
        .file("letters", "a\nb\nc\n")
        .file("digits", "1\n2\n");
    let words = [
        "--link", "-a", "letters", "-a", "digits", "--", "echo", "{2}{1}",
    ];
    assert_eq!(printed(&folder, &words, ""), "1a\n2b\n1c\n");
    let words = [
        "--xapply", "--", "echo", "{}", ":::", "a", "b", ":::", "1", "2",
    ];
    assert_eq!(here(&words, ""), "a 1\nb 2\n");
    let one = map(&folder, &["--link", "-a", "letters", "--", "echo"], "").with_code(2);
    assert!(
        one.stderr().contains("there is only one list"),
        "{}",
        one.stderr()
    );
}

#[test]
fn a_replacement_in_a_placeholder_takes_an_expression() {
    let jpgs = [":::", "x/a.jpg", "b.jpg.jpg"];
    let echo = |word: &str| here(&[&["--", "echo", word][..], &jpgs].concat(), "");
    assert_eq!(echo(r"{1/\.jpg$/.png/}"), "x/a.png\nb.jpg.png\n");
    assert_eq!(echo(r"{1/\.jpg//g}"), "x/a\nb\n");
    assert_eq!(
        echo(r"{1/(.)\.jpg/<\1>/} {/}"),
        "x/<a> a.jpg\n<b>.jpg b.jpg.jpg\n"
    );
    let nasty = ["--shell", "--", "echo {1/b/$(touch made)/}", ":::", "a b"];
    assert_eq!(here(&nasty, ""), "a $(touch made)\n");
    let perl = map(
        &Folder::new(),
        &["--", "echo", "{= s/a/b/ =}", ":::", "a"],
        "",
    )
    .with_code(2);
    assert!(
        perl.stderr().contains("{1/REGEX/TEXT/}"),
        "{}",
        perl.stderr()
    );
    // What sed has in braces stays as it is.
    let sed = ["--", "sed", "-n", "/b/{s/b/x/;p}"];
    let folder = Folder::new().file("f", "a\nb\n");
    let words = [&sed[..], &["{}", ":::", "f"]].concat();
    assert_eq!(printed(&folder, &words, ""), "x\n");
}

#[test]
fn several_items_become_one_command() {
    let items = "a\nb c\nd.x\n";
    assert_eq!(
        here(&["-n2", "--", "printf", "<%s>"], items),
        "<a><b c><d.x>"
    );
    assert_eq!(
        here(&["-n2", "--", "echo", "-{.}-"], items),
        "-a- -b c-\n-d-\n"
    );
    assert_eq!(
        here(&["-N", "2", "--", "echo", "{2}", "{1}"], items),
        "b c a\nd.x\n"
    );
    assert_eq!(
        here(&["-L2", "--shell", "--", "printf '<%s>' {}; echo"], items),
        "<a><b c>\n<d.x>\n"
    );
    assert_eq!(
        here(&["-N2", "--shell", "--", "echo {2}-{1}"], items),
        "b c-a\n-d.x\n"
    );
    let dry = ["--dry-run", "-n2", "--", "echo", ":::", "a", "b", "c"];
    assert_eq!(here(&dry, ""), "echo a b\necho c\n");
    let tagged = ["-n2", "--tag", "--", "echo", "x", "{}", ":::", "a", "b"];
    assert_eq!(here(&tagged, ""), "a b\tx a b\n");
}

#[test]
fn commands_get_as_many_items_as_fit_and_the_last_are_spread() {
    let items: Vec<String> = (0..50_000).map(|item| format!("item-{item:06}")).collect();
    let items = items.join("\n");
    let folder = Folder::new();
    let counts = |flags: &[&str]| {
        let words = [flags, &["--", "sh", "-c", "echo $#", "sh"]].concat();
        let printed = printed(&folder, &words, &items);
        let counts = printed.lines().map(|count| count.parse::<u32>().unwrap());
        counts.collect::<Vec<_>>()
    };
    let full = counts(&["--xargs"]);
    assert!(full.len() > 3, "{full:?}");
    assert_eq!(full.iter().sum::<u32>(), 50_000);
    let [all @ .., last] = &full[..] else {
        panic!("{full:?}")
    };
    assert!(
        all.iter().all(|count| count == &all[0] && count >= last),
        "{full:?}"
    );

    let few = Folder::new();
    let words = [
        "-X", "-j3", "--", "echo", ":::", "a", "b", "c", "d", "e", "f", "g",
    ];
    assert_eq!(printed(&few, &words, ""), "a b c\nd e\nf g\n");
    let words = ["-X", "-j2", "--", "echo", "{}.x", ":::", "a", "b", "c"];
    assert_eq!(printed(&few, &words, ""), "a.x b.x\nc.x\n");
    let short = [
        "-s",
        "30",
        "--",
        "echo",
        ":::",
        "aaaaaaaaaa",
        "bbbbbbbbbb",
        "c",
        "d",
    ];
    let short = here(&short, "");
    assert!(short.lines().count() > 1, "{short}");
    assert_eq!(short.replace('\n', " "), "aaaaaaaaaa bbbbbbbbbb c d ");
}

#[test]
fn what_makes_no_sense_with_several_items_is_refused() {
    for (words, said) in [
        (
            &["-X", "--", "echo", "{1}", ":::", "a"][..],
            "as many items as fit",
        ),
        (&["-n2", "--", "echo", "{3}", ":::", "a"], "2 items at most"),
        (
            &["-n2", "--", "echo", ":::", "a", ":::", "b"],
            "columns of their own (2)",
        ),
        (
            &["-n2", "-C", ",", "--", "echo", ":::", "a,b"],
            "columns of their own (2)",
        ),
        (
            &["-n2", "--shell", "--", "echo {} {1}", ":::", "a"],
            "no other placeholder",
        ),
        (&["-n0", "--", "echo", "{}", ":::", "a"], "gets no item"),
        (&["-s4294967295", "--", "echo", ":::", "a"], "bytes here"),
        (&["-n2", "--warm", "--", "cat", ":::", "a"], "--warm"),
    ] {
        let refused = map(&Folder::new(), words, "").with_code(2).stderr();
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
}

#[test]
fn a_run_of_several_items_a_command_goes_on_where_it_was_interrupted() {
    let folder = Folder::new();
    let words = [
        "-n2",
        "-j1",
        "--",
        "sh",
        "-c",
        "echo $*; [ -e go ] || [ $1 = a ]",
        "sh",
    ];
    let call = Ratchet::within(&folder)
        .args(["map", "-q", "-k"])
        .args(words);
    let ended = call.args([":::", "a", "b", "c", "d"]).run().with_code(100);
    assert_eq!(ended.stdout(), "a b\nc d\n");
    std::fs::write(folder.path().join("go"), "").unwrap();
    let resumed = Ratchet::within(&folder)
        .args(["resume", "-q", "-k"])
        .run()
        .with_code(0);
    assert_eq!(resumed.stdout(), "a b\nc d\n");
    let list = Ratchet::within(&folder)
        .args(["runs", "show"])
        .run()
        .with_code(0)
        .stdout();
    assert!(
        list.contains("resumed") || list.contains("succeeded"),
        "{list}"
    );
}

#[test]
fn commands_start_in_the_folder_and_with_the_variables_that_are_named() {
    let script = "#!/bin/sh\necho \"$1 $A $B $(basename $(pwd -P))\"\n";
    let folder = Folder::new()
        .file("inner/tell", script)
        .file("inner/filter.sh", "cat");
    let tell = folder.path().join("inner/tell");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tell, mode).unwrap();
    let words = [
        "--cwd", "inner", "--env", "A=a b", "--env", "B", "--", "./tell", ":::", "x",
    ];
    let call = Ratchet::within(&folder)
        .args(["map", "-q", "-k"])
        .args(words);
    let ended = call.env("B", "from here").run().with_code(0);
    assert_eq!(ended.stdout(), "x a b from here inner\n");
    let warm = [
        "--warm",
        "--wd",
        "inner",
        "--",
        "sh",
        "./filter.sh",
        ":::",
        "x",
    ];
    assert_eq!(printed(&folder, &warm, ""), "x\n");
    for (words, said) in [
        (
            ["--cwd", "none", "--", "echo"],
            "no command can start in `none`",
        ),
        (
            ["--env", "NO_SUCH", "--", "echo"],
            "no variable of that name",
        ),
        (["--cwd", "inner/tell", "--", "echo"], "is not a folder"),
        (["--cwd", "inner", "--", "./none"], "inner/./none"),
    ] {
        let refused = map(&folder, &[&words[..], &[":::", "x"]].concat(), "").with_code(2);
        assert!(
            refused.stderr().contains(said),
            "{words:?}: {}",
            refused.stderr()
        );
    }
}

#[test]
fn commands_start_no_faster_than_they_are_told_to() {
    for flags in [["--rate", "10/s"], ["--delay", "100ms"]] {
        let words = [
            &flags[..],
            &[
                "-j9", "--format", "jsonl", "--", "true", ":::", "a", "b", "c", "d",
            ],
        ];
        let printed = here(&words.concat(), "");
        let waited = printed.lines().map(|line| {
            let result: serde_json::Value = serde_json::from_str(line).unwrap();
            result["waited"]["rate"].as_f64().unwrap_or_default()
        });
        // The last one of four waits for three periods, however slow the machine is.
        let longest = waited.fold(0.0, f64::max);
        assert!(longest > 250.0, "{printed}");
    }
    let both = ["--rate", "1/s", "--delay", "1s", "--", "true", ":::", "a"];
    let _ = map(&Folder::new(), &both, "").with_code(2);
    let wrong = map(&Folder::new(), &["--rate", "fast", "--", "true"], "").with_code(2);
    assert!(wrong.stderr().contains("10/s"), "{}", wrong.stderr());
}
