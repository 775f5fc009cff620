//! Where settings come from: a variable, the project's file, the user's file, the default.

use std::os::unix::fs::{PermissionsExt, symlink};

use ratchet_tests::{Folder, Ratchet, Signal};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use serde_json::Value;

/// Returns the value and the origin of a key, as `config show` prints them.
fn told(call: Ratchet, key: &str) -> (String, String) {
    let ended = call.args(["config", "show", "--json"]).run().with_code(0);
    let folder = ended.folder.clone();
    let all: Value = serde_json::from_slice(&ended.quiet().stdout).expect("it is JSON");
    let text = |what: &str| {
        let text = all[key][what].as_str();
        folder.settled(text.expect("every key has both"))
    };
    (text("value"), text("origin"))
}

fn is(call: Ratchet, key: &str, value: &str, origin: &str) {
    assert_eq!(told(call, key), (value.to_owned(), origin.to_owned()));
}

#[test]
fn the_setting_of_the_nearest_origin_counts() {
    let user = Folder::new().file(".config/ratchet/config.toml", "# mine\nretries = 1\n");
    is(
        Ratchet::within(&user),
        "retries",
        "1",
        "FOLDER/.config/ratchet/config.toml:2",
    );
    let both = user.file("ratchet.toml", "retries = 2\n");
    is(
        Ratchet::within(&both),
        "retries",
        "2",
        "FOLDER/ratchet.toml:1",
    );
    let call = Ratchet::within(&both).env("RATCHET_RETRIES", "3");
    is(call, "retries", "3", "RATCHET_RETRIES");
    // An empty variable counts as not set.
    let call = Ratchet::within(&both).env("RATCHET_RETRIES", "");
    is(call, "retries", "2", "FOLDER/ratchet.toml:1");
    is(Ratchet::new(), "retries", "0", "default");
}

#[test]
fn project_settings_are_found_in_a_parent_folder() {
    let folder = Folder::new()
        .file("ratchet.toml", "retries = 1\nstate-dir = 'records'\n")
        .file("deep/down/ratchet.toml", "grace = '3s'\n")
        .file("deep/side/file", "");
    let call = Ratchet::within(&folder).below("deep/side");
    is(call, "retries", "1", "FOLDER/ratchet.toml:1");
    // The nearest one is the only one.
    let call = Ratchet::within(&folder).below("deep/down");
    is(call, "retries", "0", "default");
    let call = Ratchet::within(&folder).below("deep/down");
    is(call, "grace", "3s", "FOLDER/deep/down/ratchet.toml:1");
    // A path in a file is relative to the file.
    let call = Ratchet::within(&folder).below("deep/side").args(["runs"]);
    let ended = call.run().with_code(0);
    let said = folder.settled(&ended.stderr());
    assert_eq!(said, "ratchet: no runs are recorded in `FOLDER/records`\n");
}

#[test]
fn user_folders_follow_the_xdg_standard() {
    let folder = Folder::new().file("elsewhere/ratchet/config.toml", "retries = 4\n");
    let path = folder.at("elsewhere");
    let call = Ratchet::within(&folder).env("XDG_CONFIG_HOME", &path);
    is(
        call,
        "retries",
        "4",
        "FOLDER/elsewhere/ratchet/config.toml:1",
    );
    // By the standard, a relative path counts as not set.
    let call = Ratchet::within(&folder).env("XDG_CONFIG_HOME", "elsewhere");
    is(call, "retries", "0", "default");
    is(
        Ratchet::within(&folder),
        "state-dir",
        "FOLDER/.local/state/ratchet",
        "default",
    );
    let call = Ratchet::within(&folder).env("XDG_STATE_HOME", &path);
    is(
        call,
        "cache-dir",
        "FOLDER/elsewhere/ratchet/cache",
        "default",
    );
    let call = Ratchet::within(&folder).without("HOME");
    is(call, "state-dir", "none: HOME is not set", "default");
}

#[test]
fn every_setting_is_read_from_its_variable_and_from_a_file() {
    for (key, value) in [
        ("jobs", "3"),
        ("workers", "3"),
        ("prefetch", "3"),
        ("timeout", "3s"),
        ("retries", "3"),
        ("hint", "host_exclusive"),
        ("grace", "3s"),
        ("deadline", "3h"),
        ("max-fail", "3%"),
        ("memory-limit", "3GiB"),
        ("memory-free", "3GiB"),
        ("load", "3.5"),
        ("format", "junit"),
        ("progress", "never"),
        ("color", "always"),
        ("state-dir", "/s"),
        ("cache-dir", "/c"),
        ("durability", "each"),
        ("keep-age", "3d"),
        ("keep-runs", "3"),
        ("keep-size", "3GiB"),
        ("log-file", "/l"),
    ] {
        let variable = format!("RATCHET_{}", key.to_uppercase().replace('-', "_"));
        is(Ratchet::new().env(&variable, value), key, value, &variable);
        let folder = Folder::new().file("ratchet.toml", format!("{key} = '{value}'\n"));
        let ended = Ratchet::within(&folder).args(["config", "show"]).run();
        // A value that is a number in a file is written as a number.
        let folder = if ended.code == Some(0) {
            folder
        } else {
            folder.file("ratchet.toml", format!("{key} = {value}\n"))
        };
        is(
            Ratchet::within(&folder),
            key,
            value,
            "FOLDER/ratchet.toml:1",
        );
    }
}

#[test]
fn the_table_of_settings_names_every_key_once() {
    let table = Ratchet::new().args(["config", "show"]).run().with_code(0);
    let document = Ratchet::new().args(["config", "show", "--json"]).run();
    let document: Value = serde_json::from_slice(&document.stdout).expect("it is JSON");
    let table = table.quiet().stdout();
    let mut keys: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    keys.sort_unstable();
    let mut known: Vec<&String> = document.as_object().expect("a map").keys().collect();
    known.sort_unstable();
    assert_eq!(keys, known);
}

#[test]
fn an_invalid_setting_is_refused_even_if_it_is_not_used() {
    let jobs = "jobs: [{ run: ls }]\n";
    for words in [
        &["config", "show"][..],
        &["check", "jobs.yaml"],
        &["runs"],
        &["cache"],
    ] {
        for (name, value, said) in [
            ("RATCHET_RETRIES", "often", "--> RATCHET_RETRIES:1:1"),
            ("RATCHET_GRACE", "3", "`3` has no unit"),
            ("RATCHET_RETRYS", "3", "did you mean `RATCHET_RETRIES`?"),
        ] {
            let folder = Folder::new().file("jobs.yaml", jobs);
            let ended = Ratchet::within(&folder).args(words).env(name, value).run();
            let ended = ended.with_code(2);
            assert!(ended.stdout.is_empty());
            assert!(
                ended.stderr().contains(said),
                "{words:?}: {}",
                ended.stderr()
            );
        }
        for (text, said) in [
            ("retires = 3\n", "did you mean `retries`?"),
            ("\nretries = 'often'\n", "ratchet.toml:2:11"),
            ("retries = = 3\n", "ratchet.toml:1:11"),
        ] {
            let folder = Folder::new()
                .file("jobs.yaml", jobs)
                .file("ratchet.toml", text);
            let ended = Ratchet::within(&folder).args(words).run().with_code(2);
            assert!(
                ended.stderr().contains(said),
                "{words:?}: {}",
                ended.stderr()
            );
        }
    }
}

#[test]
fn a_config_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    symlink("/proc/self/mem", folder.at("ratchet.toml")).expect("it is made");
    let said = Ratchet::within(&folder).args(["config", "show"]).run();
    assert_eq!(
        folder.settled(&said.with_code(2).stderr()),
        "ratchet: the config file `FOLDER/ratchet.toml` cannot be read\n  \
         because: Input/output error (os error 5)\n"
    );
}

#[test]
fn a_config_file_that_is_not_utf_8_is_refused_with_the_place_of_the_first_invalid_byte() {
    let folder = Folder::new().file("ratchet.toml", b"jobs = 2\nhint = \"h\xe9\"\n");
    let ended = Ratchet::within(&folder).args(["config", "show"]).run();
    let said = folder.settled(&ended.with_code(2).stderr());
    assert!(
        said.contains("error: this is not UTF-8\n --> FOLDER/ratchet.toml:2:10\n"),
        "{said}"
    );
    assert!(said.contains("help: save it as UTF-8\n"), "{said}");
    // A mark at its beginning is no part of the text.
    let folder = Folder::new().file("ratchet.toml", b"\xef\xbb\xbfjobs = 2\n");
    is(
        Ratchet::within(&folder),
        "jobs",
        "2",
        "FOLDER/ratchet.toml:1",
    );
}

fn set_mode(folder: &Folder, name: &str, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.at(name), mode).expect("it belongs to this user");
}

#[test]
fn project_settings_that_others_may_write_are_refused_with_a_hint() {
    for (name, mode) in [("project/ratchet.toml", 0o666), ("project", 0o777)] {
        let folder = Folder::new()
            .file("project/ratchet.toml", "retries = 3\n")
            .file("project/deep/jobs.yaml", "jobs: [{ run: [touch, ran] }]\n");
        set_mode(&folder, name, mode);
        for words in [
            &["run", "jobs.yaml"][..],
            &["resume"],
            &["runs"],
            &["config", "show"],
        ] {
            let call = Ratchet::within(&folder).below("project/deep").args(words);
            let ended = call.run().with_code(2);
            let said = folder.settled(&ended.stderr());
            let refused = "ratchet: `FOLDER/project/ratchet.toml` is not used: ";
            assert!(said.starts_with(refused), "{words:?}: {said}");
            assert!(said.contains("is writable by everybody\n"), "{said}");
            assert!(
                said.contains("set RATCHET_TRUST=FOLDER/project, or `trust`"),
                "{said}"
            );
            assert!(!folder.at("project/deep/ran").exists());
        }
        let way_out = || Ratchet::within(&folder).below("project/deep");
        let call = way_out().env("RATCHET_TRUST", folder.at("project"));
        is(call, "retries", "3", "FOLDER/project/ratchet.toml:1");
        let trust = format!("trust = ['{}']\n", folder.at("project").display());
        let _ = folder.clone().file(".config/ratchet/config.toml", trust);
        is(way_out(), "retries", "3", "FOLDER/project/ratchet.toml:1");
        is(
            way_out(),
            "trust",
            "FOLDER/project",
            "FOLDER/.config/ratchet/config.toml:1",
        );
    }
}

#[test]
fn a_project_ends_at_the_root_of_its_repository_and_at_the_home_folder() {
    let folder = Folder::new()
        .file("ratchet.toml", "retries = 1\n")
        .file("repository/.git/HEAD", "")
        .file("repository/deep/file", "")
        .file("home/deep/file", "")
        .file("neither/deep/file", "");
    // A setting that is not read is not refused either.
    set_mode(&folder, "ratchet.toml", 0o666);
    let call = |place: &str| {
        let call = Ratchet::within(&folder).env("HOME", folder.at("home"));
        call.below(place)
    };
    for place in ["repository", "repository/deep", "home", "home/deep"] {
        is(call(place), "retries", "0", "default");
    }
    let refused = call("neither/deep").args(["config", "show"]).run();
    let said = folder.settled(&refused.with_code(2).stderr());
    assert!(said.contains("`FOLDER/ratchet.toml` is not used"), "{said}");
    let folder = folder
        .clone()
        .file("repository/ratchet.toml", "retries = 2\n");
    let call = Ratchet::within(&folder).below("repository/deep");
    is(call, "retries", "2", "FOLDER/repository/ratchet.toml:1");
}

#[test]
fn project_settings_cannot_set_trusted_folders() {
    let folder = Folder::new().file("ratchet.toml", "trust = '/'\n");
    for variable in [None, Some("/nowhere")] {
        let mut call = Ratchet::within(&folder).args(["config", "show"]);
        if let Some(value) = variable {
            call = call.env("RATCHET_TRUST", value);
        }
        let said = folder.settled(&call.run().with_code(2).stderr());
        let refused = "ratchet: `FOLDER/ratchet.toml` sets `trust`, which only the user's own";
        assert!(said.starts_with(refused), "{said}");
    }
}

/// A pipe in the place of the user's config file, which is read before anything else is done.
#[test]
fn a_signal_for_the_user_that_comes_before_anything_is_read_ends_no_call() {
    let folder = Folder::new().file(".config/ratchet/empty", "");
    let path = folder.at(".config/ratchet/config.toml");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
    let call = Ratchet::within(&folder).args(["map", "-q", "--", "touch", ":::", "ran"]);
    let running = call.start();
    // This fails until somebody reads.
    let open = || {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        rustix::fs::open(&path, flags, Mode::empty()).ok()
    };
    let mut writer = None;
    running.until("the file is read", || {
        writer = open();
        writer.is_some()
    });
    running.signal(Signal::User1);
    running.signal(Signal::User2);
    drop(writer);
    // It may be read again.
    running.until("the job has run", || {
        drop(open());
        folder.at("ran").exists()
    });
    let _ = running.wait().with_code(0);
}

#[test]
fn the_config_file_of_another_user_is_refused_unless_its_folder_is_trusted() {
    let folder = Folder::new().file("theirs/ratchet/config.toml", "jobs = 1\n");
    let file = folder.at("theirs/ratchet/config.toml");
    let map = || {
        let map = Ratchet::within(&folder).env("XDG_CONFIG_HOME", folder.at("theirs"));
        map.args(["map", "-q", "--", "echo", ":::", "a"])
    };
    let _ = map().run().with_code(0);
    let change = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, mode).expect("it is ours");
    };
    change(0o666);
    let refused = map().run().with_code(2).stderr();
    assert!(
        refused.contains("theirs/ratchet/config.toml` is not used"),
        "{refused}"
    );
    assert!(refused.contains("RATCHET_TRUST"), "{refused}");
    let trusted = map().env("RATCHET_TRUST", folder.at("theirs"));
    let _ = trusted.run().with_code(0);
    change(0o644);
    // Only root can give a file away.
    if std::os::unix::fs::chown(&file, Some(65534), None).is_ok() {
        let refused = map().run().with_code(2).stderr();
        assert!(refused.contains("config.toml` is not used"), "{refused}");
    }
}
