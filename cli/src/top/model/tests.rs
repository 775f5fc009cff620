//! What follows from states, keys and answers.

use super::*;
use crate::live::RunningNow;

fn job(id: &str) -> RunningNow {
    serde_json::from_value(
        serde_json::json!({"id": id, "does": "sleep", "age_ms": 1, "attempt": 1}),
    )
    .unwrap()
}

fn state(jobs: &[&str]) -> LiveState {
    LiveState {
        slots: 2,
        jobs: jobs.iter().map(|id| job(id)).collect(),
        ..LiveState::default()
    }
}

fn model(jobs: &[&str]) -> Model {
    let mut model = Model::default();
    model.update(Message::State(Box::new(state(jobs))), Duration::ZERO);
    model
}

fn hear(model: &mut Model, state: LiveState) -> Vec<Effect> {
    model.update(Message::State(Box::new(state)), Duration::ZERO)
}

fn press(model: &mut Model, key: Key) -> Vec<Effect> {
    model.update(Message::Key(key), Duration::ZERO)
}

fn answer(model: &mut Model, command: Command, answer: Result<(), String>) {
    let effects = model.update(Message::Answer(command, answer), Duration::ZERO);
    assert_eq!(effects, []);
}

fn followed(effects: &[Effect]) -> Option<&str> {
    match effects {
        [Effect::Follow(job)] => job.as_ref().map(JobKey::as_str),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_job_is_followed_and_then_the_one_that_is_chosen() {
    let mut model = Model::default();
    let effects = hear(&mut model, state(&["a", "b", "c"]));
    assert_eq!(followed(&effects), Some("a"));
    assert_eq!(press(&mut model, Key::Up), []);
    assert_eq!(followed(&press(&mut model, Key::Down)), Some("b"));
    // It is followed wherever it stands by now.
    assert_eq!(hear(&mut model, state(&["b", "c"])), []);
    assert_eq!(model.chosen(Focus::Running), 0);
    // When it has ended, what stands in its place is followed.
    assert_eq!(followed(&hear(&mut model, state(&["c", "d"]))), Some("c"));
    assert_eq!(followed(&press(&mut model, Key::End)), Some("d"));
    assert_eq!(press(&mut model, Key::PageDown), []);
    assert_eq!(followed(&press(&mut model, Key::Home)), Some("c"));
    assert_eq!(followed(&hear(&mut model, state(&[]))), None);
    assert_eq!(press(&mut model, Key::Down), []);
}

#[test]
fn output_of_a_job_that_is_not_chosen_any_more_is_dropped() {
    let mut model = model(&["a", "b"]);
    let printed = |bytes: &str| {
        let piece = serde_json::json!({"next": 1, "dropped": 0, "bytes": bytes});
        let none = serde_json::json!({"next": 0, "dropped": 0, "bytes": ""});
        let printed =
            serde_json::json!({"running": true, "attempt": 1, "stdout": piece, "stderr": none});
        serde_json::from_value::<Printed>(printed).unwrap()
    };
    let print = |model: &mut Model, job: &str, bytes: &str| {
        model.update(Message::Output(job.into(), printed(bytes)), Duration::ZERO);
        model
            .tail()
            .last(5)
            .into_iter()
            .map(|(_, line)| line)
            .collect::<String>()
    };
    assert_eq!(print(&mut model, "a", "61"), "a");
    let _ = press(&mut model, Key::Down);
    assert_eq!(print(&mut model, "a", "61"), "");
    assert_eq!(print(&mut model, "b", "62"), "b");
}

#[test]
fn the_answer_to_a_pause_counts_at_once_although_states_are_late() {
    let mut model = model(&["a"]);
    assert_eq!(
        press(&mut model, Key::Char('p')),
        [Effect::Send(Command::Pause(true))]
    );
    // Nothing is sent twice while the answer is awaited.
    assert_eq!(press(&mut model, Key::Char('p')), []);
    assert!(
        model
            .note()
            .unwrap()
            .text
            .contains("has not answered yet: pause")
    );
    answer(&mut model, Command::Pause(true), Ok(()));
    assert!(model.state().unwrap().paused);
    let _ = hear(&mut model, state(&["a"]));
    assert!(model.state().unwrap().paused, "this state was late");
    assert_eq!(
        press(&mut model, Key::Char('p')),
        [Effect::Send(Command::Pause(false))]
    );
    answer(&mut model, Command::Pause(false), Ok(()));
    let paused = LiveState {
        paused: true,
        ..state(&["a"])
    };
    let _ = hear(&mut model, paused.clone());
    assert!(!model.state().unwrap().paused);
    let _ = hear(&mut model, state(&["a"]));
    // Somebody else has paused it.
    let _ = hear(&mut model, paused);
    assert!(model.state().unwrap().paused);
}

#[test]
fn an_answer_is_not_held_against_what_others_do_for_long() {
    let mut model = model(&["a"]);
    let _ = press(&mut model, Key::Char('p'));
    answer(&mut model, Command::Pause(true), Ok(()));
    for _ in 0..LATE_STATES {
        let _ = hear(&mut model, state(&["a"]));
        assert!(model.state().unwrap().paused);
    }
    let _ = hear(&mut model, state(&["a"]));
    assert!(!model.state().unwrap().paused);
}

#[test]
fn slots_are_changed_by_one_or_typed() {
    let slots = |slots| Command::Slots(NonZeroU32::new(slots).unwrap());
    let mut model = model(&["a"]);
    assert_eq!(press(&mut model, Key::Char('+')), [Effect::Send(slots(3))]);
    answer(&mut model, slots(3), Ok(()));
    assert_eq!(press(&mut model, Key::Char('-')), [Effect::Send(slots(2))]);
    answer(
        &mut model,
        slots(2),
        Err("there is room for 1; try less".to_owned()),
    );
    assert_eq!(model.state().unwrap().slots, 3, "it was refused");
    assert!(model.note().unwrap().is_error);
    assert_eq!(press(&mut model, Key::Char('s')), []);
    for key in "x12"
        .chars()
        .map(Key::Char)
        .chain([Key::Backspace, Key::Char('6')])
    {
        assert_eq!(press(&mut model, key), []);
    }
    assert_eq!(*model.mode(), Mode::TypeSlots("16".to_owned()));
    assert_eq!(press(&mut model, Key::Enter), [Effect::Send(slots(16))]);
    answer(&mut model, slots(16), Ok(()));
    assert_eq!(model.state().unwrap().slots, 16);
    for keys in [
        &[Key::Enter][..],
        &[Key::Char('0'), Key::Enter],
        &[Key::Char('5'), Key::Escape],
    ] {
        let _ = press(&mut model, Key::Char('s'));
        for key in keys {
            assert_eq!(press(&mut model, *key), []);
        }
        assert_eq!(*model.mode(), Mode::Normal);
    }
    let _ = hear(
        &mut model,
        LiveState {
            slots: 1,
            ..state(&[])
        },
    );
    for _ in 0..LATE_STATES {
        let _ = hear(
            &mut model,
            LiveState {
                slots: 1,
                ..state(&[])
            },
        );
    }
    assert_eq!(press(&mut model, Key::Char('-')), []);
    assert!(model.note().unwrap().text.contains("at least one slot"));
}

#[test]
fn a_job_is_cancelled_after_a_question() {
    let mut model = model(&["a", "b"]);
    let _ = press(&mut model, Key::Down);
    assert_eq!(press(&mut model, Key::Char('c')), []);
    // The list may change while it is asked, and the job does not.
    let _ = hear(&mut model, state(&["c", "b"]));
    let cancel = Command::Cancel("b".into());
    assert_eq!(
        press(&mut model, Key::Char('y')),
        [Effect::Send(cancel.clone())]
    );
    answer(&mut model, cancel, Ok(()));
    let _ = press(&mut model, Key::Char('c'));
    assert_eq!(press(&mut model, Key::Enter), []);
    assert_eq!(*model.mode(), Mode::Normal);
    let _ = press(&mut model, Key::Tab);
    assert_eq!(press(&mut model, Key::Char('c')), []);
    assert_eq!(*model.mode(), Mode::Normal, "what has failed has ended");
}

#[test]
fn failures_are_chosen_apart_and_have_no_output() {
    let mut model = Model::default();
    let with_failures = LiveState {
        failures: serde_json::from_value(serde_json::json!([
            {"id": "x", "status": "failed", "message": "it ended with exit code 1"},
            {"id": "y", "status": "failed", "message": "it ended with exit code 1"},
        ]))
        .unwrap(),
        ..state(&["a", "b"])
    };
    let _ = hear(&mut model, with_failures.clone());
    assert_eq!(followed(&press(&mut model, Key::Tab)), None);
    assert_eq!(press(&mut model, Key::Down), []);
    assert_eq!(
        (model.chosen(Focus::Failed), model.chosen(Focus::Running)),
        (1, 0)
    );
    assert_eq!(followed(&press(&mut model, Key::Tab)), Some("a"));
}

#[test]
fn keys_that_end_stop_and_help_work_in_every_mode() {
    for prepare in ["", "?", "c", "s"] {
        for (key, effect) in [
            (Key::Interrupt, Effect::Quit),
            (Key::Suspend, Effect::Suspend),
            (Key::Redraw, Effect::Redraw),
        ] {
            let mut model = model(&["a"]);
            for key in prepare.chars() {
                let _ = press(&mut model, Key::Char(key));
            }
            assert_eq!(press(&mut model, key), [effect]);
        }
    }
    let mut model = model(&["a"]);
    let _ = press(&mut model, Key::Char('?'));
    assert_eq!(*model.mode(), Mode::Help);
    assert_eq!(press(&mut model, Key::Char('q')), [], "it closes the help");
    assert_eq!(press(&mut model, Key::Char('q')), [Effect::Quit]);
    let _ = press(&mut model, Key::Char('x'));
    assert!(model.note().unwrap().text.contains("lists the keys"));
}

#[test]
fn nothing_is_sent_before_the_run_has_told_how_it_stands() {
    let mut model = Model::default();
    for key in ['p', '+', '-', 'c', ' '] {
        assert_eq!(press(&mut model, Key::Char(key)), []);
    }
    assert!(model.state().is_none());
}

#[test]
fn a_run_that_is_silent_for_long_is_told() {
    let mut model = model(&["a"]);
    let _ = model.update(Message::Tick, Duration::from_secs(2));
    assert_eq!(model.silence(), None);
    let _ = model.update(Message::Tick, Duration::from_secs(9));
    assert_eq!(model.silence(), Some(Duration::from_secs(9)));
    let _ = model.update(
        Message::State(Box::new(state(&[]))),
        Duration::from_secs(10),
    );
    assert_eq!(model.silence(), None);
}
