use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::style::Style;

fn around(folder: &Path, variables: &[(&str, &str)]) -> UserEnvironment {
    let set = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    UserEnvironment {
        variables: set.collect(),
        folder: folder.to_path_buf(),
    }
}

fn refusal(environment: &UserEnvironment) -> String {
    match Settings::load(environment).unwrap_err() {
        SettingsError::Refused(reports) => {
            let shown = reports.iter().map(|report| report.render(Style::PLAIN));
            let shown: String = shown.collect();
            shown.replace(&format!("{}/", environment.folder.display()), "")
        }
        other => other.to_string(),
    }
}

#[test]
fn who_is_nearer_wins_and_each_value_knows_its_origin() {
    let home = TempDir::new().unwrap();
    let home = home.path();
    let project = home.join("project");
    std::fs::create_dir_all(project.join("deep/er")).unwrap();
    std::fs::create_dir_all(home.join(".config/ratchet")).unwrap();
    std::fs::write(
        project.join("ratchet.toml"),
        "jobs = 2\ntimeout = \"5s\"\nstate-dir = \"runs\"\n",
    )
    .unwrap();
    std::fs::write(
        home.join(".config/ratchet/config.toml"),
        "jobs = 3\ntimeout = \"6s\"\nretries = 7\n",
    )
    .unwrap();
    let home_text = home.display().to_string();
    let variables = [
        ("HOME", home_text.as_str()),
        ("RATCHET_JOBS", "50%"),
        ("RATCHET_GRACE", ""),
        ("RATCHET_WORKER_ID", "w/1"),
    ];
    let environment = around(&project.join("deep/er"), &variables);
    let settings = Settings::load(&environment).unwrap();

    assert_eq!(settings.jobs(), Some(&JobCount::Percent(50)));
    assert_eq!(
        settings.terms().timeouts,
        Some(Timeouts::after(Duration::from_secs(5)))
    );
    assert_eq!(settings.terms().retry.max, Some(7));
    assert_eq!(settings.grace(), None, "set to nothing is not set");
    assert_eq!(
        settings.state_dir(&environment).unwrap(),
        project.join("runs")
    );
    assert_eq!(
        settings.cache_dir(&environment).unwrap(),
        project.join("runs/cache")
    );

    let origins = settings.origins(&environment);
    let of = |key| {
        let (_, value, origin) = origins.iter().find(|(name, _, _)| *name == key).unwrap();
        (value.as_str(), origin.to_string().replace(&home_text, "~"))
    };
    assert_eq!(of("jobs"), ("50%", "RATCHET_JOBS".into()));
    assert_eq!(of("timeout"), ("5s", "~/project/ratchet.toml:2".into()));
    assert_eq!(
        of("retries"),
        ("7", "~/.config/ratchet/config.toml:3".into())
    );
    assert_eq!(of("prefetch"), ("auto", "default".into()));
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("ratchet.toml"),
        "jbos = 2\njobs = -0.5\nhint = \"fast\"\n",
    )
    .unwrap();
    let variables = [
        ("RATCHET_TIMEOUT", "30"),
        ("RATCHET_JOBS", "many"),
        ("RATCHET_RETRIS", "3"),
        ("RATCHET_LOAD", "0"),
        ("RATCHET_HOUSE", "x"),
    ];
    insta::assert_snapshot!(refusal(&around(folder.path(), &variables)));
}

#[test]
fn a_ratchet_that_a_job_starts_takes_no_share_of_a_resource_for_a_misspelt_setting() {
    let folder = TempDir::new().unwrap();
    let share = ("RATCHET_JOB", "0");
    assert!(Settings::load(&around(folder.path(), &[share])).is_err());
    let in_job = [share, ("RATCHET_JOB_ID", "7")];
    assert!(Settings::load(&around(folder.path(), &in_job)).is_ok());
}

#[test]
fn a_resource_has_the_variable_of_a_setting_or_of_none() {
    for name in ["timeout", "Jobs", "state-dir", "state_dir", "trust"] {
        assert!(variable_of_setting(name).is_some(), "{name}");
    }
    for name in ["gpu", "memory", "port", "state"] {
        assert_eq!(variable_of_setting(name), None, "{name}");
    }
}

#[test]
fn a_config_file_in_another_format_is_not_passed_over() {
    let home = TempDir::new().unwrap();
    let config = home.path().join(".config/ratchet");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.yaml"), "jobs: 4\n").unwrap();
    let home_text = home.path().display().to_string();
    let environment = around(home.path(), &[("HOME", &home_text)]);
    let refused = refusal(&environment);
    assert!(refused.contains("config.yaml` is not read"), "{refused}");
    std::fs::rename(config.join("config.yaml"), config.join("yaml")).unwrap();
    assert!(Settings::load(&environment).is_ok());
}

#[test]
fn every_key_can_be_set_both_ways() {
    for key in SettingsSpec::keys() {
        let good = match key {
            "jobs" | "workers" | "retries" | "load" | "max-fail" | "keep-runs" => "3",
            "prefetch" | "progress" | "color" => "auto",
            "timeout" | "grace" | "deadline" | "keep-age" => "3s",
            "memory-limit" | "memory-free" | "keep-size" => "3GiB",
            "hint" => "alone",
            "modules" => "apt=alone,mine=fully_parallel",
            "format" => "json",
            "durability" => "each",
            _ => "folder",
        };
        let folder = TempDir::new().unwrap();
        let name = keys::variable(key);
        let said = |environment: &UserEnvironment| {
            let origins = Settings::load(environment).unwrap().origins(environment);
            let (_, said, origin) = origins
                .into_iter()
                .find(|(name, _, _)| *name == key)
                .unwrap();
            assert_ne!(origin, Origin::Default, "{key}");
            said
        };
        assert_eq!(said(&around(folder.path(), &[(&name, good)])), good);
        let written = if good == "3" {
            "3".to_owned()
        } else {
            format!("{good:?}")
        };
        // The user's own file, because a project's may not set every key.
        let config = folder.path().join("ratchet");
        std::fs::create_dir(&config).unwrap();
        std::fs::write(
            config.join("config.toml"),
            format!(
                "{key} = {written}
"
            ),
        )
        .unwrap();
        let config = folder.path().display().to_string();
        let user = around(folder.path(), &[("XDG_CONFIG_HOME", &config)]);
        assert_eq!(said(&user), good);
    }
}

#[test]
fn without_a_home_it_is_said_what_to_set() {
    let environment = around(Path::new("/nowhere"), &[]);
    let settings = Settings::load(&environment).unwrap();
    let error = settings.state_dir(&environment).unwrap_err().to_string();
    assert!(
        error.contains("XDG_STATE_HOME") && error.contains("--state-dir"),
        "{error}"
    );
    let relative = around(Path::new("/nowhere"), &[("HOME", "relative")]);
    assert!(settings.state_dir(&relative).is_err());
    let xdg = around(Path::new("/nowhere"), &[("XDG_STATE_HOME", "/x")]);
    assert_eq!(settings.state_dir(&xdg).unwrap(), Path::new("/x/ratchet"));
}
