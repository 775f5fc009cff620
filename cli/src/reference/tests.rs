use super::keys::{KeyReference, SectionReference};
use super::*;
use crate::document::Section as _;
use crate::job_file::{FileSpec, JobSpec};
use crate::settings::SettingsSpec;

fn keys_of<'a>(sections: &'a [SectionReference], title: &str) -> &'a [KeyReference] {
    let section = sections.iter().find(|section| section.title == title);
    &section.unwrap_or_else(|| panic!("no section {title}")).keys
}

fn key<'a>(sections: &'a [SectionReference], title: &str, name: &str) -> &'a KeyReference {
    let found = keys_of(sections, title).iter().find(|key| key.name == name);
    found.unwrap_or_else(|| panic!("no key {name}"))
}

#[test]
fn every_key_that_is_read_is_told_with_its_values_and_an_example() {
    for (schema, title, names) in [
        (schema::jobs(), "a job file", FileSpec::keys()),
        (schema::jobs(), "a job", JobSpec::keys()),
        (schema::config(), "a config file", SettingsSpec::keys()),
    ] {
        let sections = sections(&schema);
        let mut told: Vec<&str> = keys_of(&sections, title)
            .iter()
            .map(|key| &*key.name)
            .collect();
        let mut names = names;
        told.sort_unstable();
        names.sort_unstable();
        assert_eq!(told, names, "{title}");
        for section in &sections {
            for key in &section.keys {
                let of = format!("{} of {}", key.name, section.title);
                assert!(!key.about.is_empty(), "{of} means nothing");
                assert!(!key.values.is_empty() && !key.example.is_empty(), "{of}");
            }
        }
    }
}

#[test]
fn values_defaults_and_examples_follow_from_the_definitions() {
    let jobs = sections(&schema::jobs());
    let told = |title: &str, name: &str| {
        let key = key(&jobs, title, name);
        (key.values.clone(), key.default.clone(), key.example.clone())
    };
    let owned = |values: &str, default: Option<&str>, example: &str| {
        (
            values.to_owned(),
            default.map(str::to_owned),
            example.to_owned(),
        )
    };
    assert_eq!(
        told("a worker", "handshake_wait"),
        owned("a time", Some("250ms"), "30s")
    );
    assert_eq!(
        told("a worker", "stderr"),
        owned("a size", Some("16KiB"), "512MiB")
    );
    assert_eq!(
        told("a worker", "input"),
        owned("`text` | `json`", Some("`text`"), "text")
    );
    assert_eq!(
        told("a worker", "protocol"),
        owned(
            "`ratchet` | `lines` | `mcp` | `bazel-json`",
            Some("`ratchet`"),
            "ratchet"
        )
    );
    assert_eq!(told("a limit", "rate"), owned("a rate", None, "10/s"));
    assert_eq!(
        told("a worker", "size"),
        owned("a whole number from 1, or the keys of `a size`", None, "4")
    );
    assert_eq!(
        told("retry", "on").1.as_deref(),
        Some("all that another attempt may cure")
    );
    assert!(key(&jobs, "a worker", "command").is_required);
}

#[test]
fn a_reference_is_found_by_its_name() {
    for name in Reference::NAMES {
        assert_eq!(Reference::of(name).map(Reference::name), Some(name));
    }
    assert_eq!(Reference::of("job_file"), None);
}
