//! `ratchet hosts` lists hosts, and tries them.

use super::*;

#[test]
fn the_hosts_of_a_file_are_listed_with_their_groups_and_nobody_is_reached() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  web1: { ssh: "deploy@web1.example:2222", slots: 2, groups: [web, eu] }
  box: { via: [env, IN_BOX=1] }
jobs:
  - { run: [echo], on: web1 }
"#,
    );
    let ended = ratchet(&folder)
        .args(["hosts", "jobs.yaml"])
        .run()
        .with_code(0);
    assert_eq!(
        ended.stdout(),
        "HOST  SLOTS  GROUPS  REACHED BY\n\
         web1  2      eu,web  ssh -p 2222 deploy@web1.example\n\
         box   -              env IN_BOX=1\n"
    );
    let args = [
        "hosts",
        "list",
        "jobs.yaml",
        "-S",
        "@eu,3/:",
        "--format",
        "json",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let hosts: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    assert_eq!(hosts[0]["host"], "web1");
    assert_eq!(hosts[0]["groups"], serde_json::json!(["eu", "web"]));
    assert_eq!(hosts[0]["launcher"][0], "ssh");
    assert_eq!(
        hosts[1],
        serde_json::json!({"host": "local", "groups": [], "launcher": [], "slots": 3})
    );
    assert!(!folder.at("log").exists(), "nobody was reached");
}

#[test]
fn a_call_that_names_no_hosts_says_how_to() {
    let folder = folder().file("jobs.yaml", "jobs: [{run: [echo]}]\n");
    let run = |args: &[&str]| ratchet(&folder).args(["hosts"]).args(args).run();
    for (args, said) in [
        (&[][..], "no hosts are given"),
        (&["check", "-"], "not read from stdin"),
        (&["--on", "host"], "there are no jobs"),
        (&["jobs.yaml", "--on", "@web"], "no host or group `web`"),
        (&["no.yaml"], "no.yaml"),
    ] {
        let ended = run(args).with_code(2);
        assert!(
            ended.stderr().contains(said),
            "{args:?}: {}",
            ended.stderr()
        );
    }
    let ended = run(&["jobs.yaml"]).with_code(4);
    assert!(ended.stderr().contains("there are no hosts"));
}

#[test]
fn hosts_are_tried_and_those_that_do_not_answer_are_told_with_the_words_of_their_launcher() {
    let folder = folder();
    let check = |on: &str, format: &str| {
        let args = ["hosts", "check", "-S", on, "--format", format];
        ratchet(&folder).args(args).run()
    };
    let ended = check("4/web1,:,web2", "human").with_code(0);
    let stdout = ended.stdout();
    assert!(stdout.contains("3 of 3 reached"), "{stdout}");
    assert_eq!(stdout.matches("reached\n").count(), 4, "{stdout}");

    let ended = check("4/web1,down1", "json").with_code(100);
    let hosts: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    let (web1, down1) = (&hosts[0], &hosts[1]);
    assert_eq!(
        (&web1["host"], &web1["reached"]),
        (&"web1".into(), &true.into())
    );
    assert_eq!(
        (&web1["slots"], &web1["ratchet"]),
        (&4.into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(web1["round_trip_ms"].as_f64().unwrap() > 0.0);
    assert!(web1["cores"].as_u64().unwrap() > 0);
    let platform = web1["platform"].as_str().unwrap();
    assert!(platform.starts_with(std::env::consts::OS), "{platform}");
    assert_eq!(down1["reached"], false);
    let error = down1["error"].as_str().unwrap();
    assert!(error.contains("No route to host"), "{error}");
    let ended = check("down1", "human").with_code(100);
    assert!(ended.stdout().contains("No route to host"));
    assert!(ended.stdout().contains("0 of 1 reached"));
    nothing_is_left(&folder);
}
