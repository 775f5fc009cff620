use clap::CommandFactory;

use super::*;
use crate::job_count::JobCount;

fn parse(line: &str) -> Result<Verb, clap::Error> {
    Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.verb)
}

#[test]
fn the_definitions_hold_together() {
    Arguments::command().debug_assert();
}

#[test]
fn every_verb_has_help_that_people_can_read() {
    let mut root = Arguments::command().term_width(100);
    root.build();
    insta::assert_snapshot!("ratchet", root.render_long_help());
    for verb in root.get_subcommands_mut() {
        if verb.get_name() != "help" {
            let name = verb.get_name().to_owned();
            insta::assert_snapshot!(name, verb.render_long_help());
        }
    }
}

#[test]
fn a_map_takes_its_command_as_it_is() {
    for line in [
        "ratchet map -j4 -- convert -x {} -- --jobs ::: a -j9",
        "ratchet map -j4 convert -x {} -- --jobs ::: a -j9",
    ] {
        let Ok(Verb::Map(map)) = parse(line) else {
            panic!("{line}")
        };
        assert_eq!(
            map.words,
            ["convert", "-x", "{}", "--", "--jobs", ":::", "a", "-j9"],
            "{line}"
        );
        assert_eq!(
            map.common
                .concurrency
                .jobs
                .as_ref()
                .and_then(JobCount::number),
            Some(4)
        );
    }
}

#[test]
fn a_bar_is_progress_that_is_always_shown() {
    for line in ["ratchet map --bar -- x", "ratchet map --eta -- x"] {
        let Ok(Verb::Map(map)) = parse(line) else {
            panic!("{line}")
        };
        assert_eq!(map.common.display.progress(), Some(When::Always), "{line}");
    }
}

#[test]
fn what_contradicts_itself_is_a_usage_error() {
    for line in [
        "ratchet map --warm --shell -- x",
        "ratchet map --header --match x -- x",
        "ratchet map -r --csv -- x",
        "ratchet map -X -m -- x",
        "ratchet map -0 --csv -- x",
        "ratchet map --halt now,fail=0 -- x",
        "ratchet run --protocol lines",
        "ratchet run -q -v",
        "ratchet run -j0%",
        "ratchet run --timeout 30",
        "ratchet run --hint host_exclusiv",
        "ratchet run --load 0",
        "ratchet runs rm",
        "ratchet cache=off",
        "ratchet run --cache=sometimes",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}: {error}");
    }
}

#[test]
fn what_was_not_typed_is_not_there() {
    let Ok(Verb::Run(run)) = parse("ratchet run") else {
        panic!("nothing is required")
    };
    assert!(
        run.file.is_none()
            && run.common.concurrency.jobs.is_none()
            && run.common.terms.cache.is_none()
    );
    let Ok(Verb::Run(run)) = parse("ratchet run --cache jobs.yaml") else {
        panic!("a file may follow")
    };
    assert_eq!(run.common.terms.cache, Some(terms::CacheMode::On));
    assert!(run.file.is_some());
}
