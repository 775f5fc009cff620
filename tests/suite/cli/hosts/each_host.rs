//! `map --each-host` runs a command once on each host.

use super::*;

#[test]
fn a_command_runs_once_on_each_host_and_hosts_with_the_same_output_are_shown_together() {
    let folder = folder();
    let run = |flags: &[&str], command: &[&str]| {
        let map = ratchet(&folder).args(["map", "-q", "--each-host"]);
        map.args(flags).args(["--"]).args(command).run()
    };
    let script = "case {host} in web2) echo two; echo late >&2; exit 3;; *) echo same;; esac";
    let ended = run(&["-S", "web1,web2,:,web3", "--shell"], &[script]).with_code(100);
    assert_eq!(
        ended.stdout(),
        "HOSTS              EXIT  OUTPUT\n\
         web1, local, web3  0     same\n\
         web2               3     two\n\
        \x20                        late\n"
    );
    let ended = run(&["-S", "web1,:", "--format", "jsonl"], &["echo", "hello"]).with_code(0);
    let results = results(&ended);
    assert_eq!(results.len(), 2);
    for line in &results {
        let host = line["host"].as_str().unwrap();
        assert_eq!(line["item"], host);
        let place = (host != "local").then_some(host);
        assert_eq!(line["place"].as_str(), place);
        assert_eq!(line["result"]["stdout"], "hello\n");
    }
    nothing_is_left(&folder);
}

#[test]
fn a_command_for_each_host_says_which_hosts_were_not_reached_and_takes_no_items() {
    let folder = folder().file("hosts.ini", "web1\nbox ansible_host=denied\n");
    let dry = [
        "map",
        "--each-host",
        "-i",
        "hosts.ini",
        "--dry-run",
        "echo",
        "{}",
    ];
    let ended = ratchet(&folder).args(dry).run().with_code(0);
    assert_eq!(ended.stdout(), "echo web1\necho box\n");
    for (args, said) in [
        (&["echo", ":::", "a"][..], "without items"),
        (&["echo"], "no hosts are given"),
        (&["--on", "@db", "echo"], "no host or group `db`"),
        (&["-S", "web1", "echo", "{1}"], "no items here"),
        (&["-S", "web1", "echo", "{hots}"], "did you mean {host}?"),
        (&["-S", "web1", "--cache", "echo"], "cannot be reused"),
    ] {
        let map = ratchet(&folder).args(["map", "--no-record", "--each-host"]);
        let ended = map.args(args).run().with_code(2);
        let stderr = ended.stderr();
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    // A host that refuses the key is not tried again. One that does not answer would be, for half a minute.
    let args = ["map", "-q", "--each-host", "-i", "hosts.ini", "echo", "hi"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let stdout = ended.stdout();
    assert!(stdout.contains("web1   0     hi\n"), "{stdout}");
    let unreached =
        "box    -     ratchet: host box cannot be reached: deploy@denied: Permission denied";
    assert!(stdout.contains(unreached), "{stdout}");
}
