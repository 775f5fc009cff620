//! Pictures of the view, on terminals of several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::super::key::Key;
use super::super::model::Message;
use super::*;

/// Returns a run with a bit of everything.
fn busy() -> LiveState {
    let job = |id: &str, does: &str, age: u64, attempt: u32, at: serde_json::Value| {
        let mut job = json!({"id": id, "does": does, "age_ms": age, "attempt": attempt});
        let at = at.as_object().cloned().unwrap_or_default();
        job.as_object_mut().unwrap().extend(at);
        job
    };
    let jobs = json!([
        job(
            "build-linux",
            "cargo build --release --target x86_64-unknown-linux-gnu",
            83_000,
            1,
            json!({"slot": 1})
        ),
        job(
            "resize-17",
            "resize",
            2_500,
            2,
            json!({"slot": 2, "worker": "img/3", "share": 0.42})
        ),
        job(
            "3",
            "sh -c 'sleep 10'",
            900,
            1,
            json!({"slot": 3, "item": "日本/a\u{1b}[2J.png"})
        ),
        job(
            "deploy",
            "systemctl restart app",
            120,
            1,
            json!({"slot": 1, "place": "web1"})
        ),
    ]);
    let state = json!({
        "run": "1sh4sxt", "pid": 7, "phase": "running", "paused": false, "elapsed_ms": 247_300,
        "slots": 4, "slots_used": 4, "total": 120, "queued": 5, "waiting": 57, "running": 4,
        "ended": 54, "succeeded": 51, "failed": 3, "rate": 1.25, "left_ms": 52_800,
        "history": (0..100u64).map(|second| second * second % 7).collect::<Vec<_>>(),
        "waits": [
            {"cause": "needs", "jobs": 12}, {"cause": "host", "jobs": 3}, {"cause": "limit:db", "jobs": 2},
            {"cause": "worker", "jobs": 1}, {"cause": "slot", "jobs": 39},
        ],
        "workers": [
            {"name": "img", "size": 4, "busy": 1, "failures": 0},
            {"name": "ocr", "size": 2, "busy": 0, "failures": 3},
        ],
        "limits": [{"name": "db", "limit": {"max": 2}, "left": 0.0}],
        "jobs": jobs,
        "failures": [
            {"id": "test-7", "status": "failed", "message": "it ended with exit code 1: assertion failed: left == right"},
            {"id": "fetch", "status": "timed_out", "message": "it took longer than 30 s"},
            {"id": "resize-9", "status": "crashed", "message": "its worker has died: signal 9\nlast words"},
        ],
    });
    serde_json::from_value(state).unwrap()
}

/// Returns a model that has heard this state, the output of the first job, and these keys.
fn told(state: LiveState, keys: &[Key]) -> Model {
    let mut model = Model::default();
    let first = state.jobs.first().map(|job| job.id.clone());
    let _ = model.update(Message::State(Box::new(state)), Duration::ZERO);
    if let Some(first) = first {
        let digits = |text: &str| {
            text.bytes()
                .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
        };
        let printed = json!({
            "running": true, "attempt": 1,
            "stdout": {"next": 9, "dropped": 0, "bytes": digits("Compiling serde v1.0\nCompiling tokio v1.47\n[====>    ] 42 %")},
            "stderr": {"next": 9, "dropped": 0, "bytes": digits("warning: unused variable: `x`\n")},
        });
        let printed = serde_json::from_value(printed).unwrap();
        let _ = model.update(Message::Output(first, printed), Duration::ZERO);
    }
    for key in keys {
        let _ = model.update(Message::Key(*key), Duration::ZERO);
    }
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, model, Palette::new(true)))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_busy_run_on_usual_terminals() {
    let model = told(busy(), &[]);
    insta::assert_snapshot!("busy_80x24", drawn(&model, 80, 24));
    insta::assert_snapshot!("busy_120x40", drawn(&model, 120, 40));
    insta::assert_snapshot!("busy_60x14", drawn(&model, 60, 14));
}

#[test]
fn a_run_without_anything_special() {
    let quiet = LiveState {
        run: "1abc".to_owned(),
        phase: "running".to_owned(),
        slots: 2,
        ..LiveState::default()
    };
    insta::assert_snapshot!(drawn(&told(quiet, &[]), 80, 24));
}

#[test]
fn the_help_covers_the_middle() {
    insta::assert_snapshot!(drawn(&told(busy(), &[Key::Char('?')]), 80, 24));
}

#[test]
fn the_message_of_a_chosen_failure_is_shown_as_a_whole() {
    let model = told(busy(), &[Key::Tab, Key::Down, Key::Down]);
    insta::assert_snapshot!(drawn(&model, 80, 24));
}

#[test]
fn the_first_and_the_last_line_say_what_is_asked_and_what_holds_the_run() {
    let last = |model: &Model| {
        let text = drawn(model, 80, 24);
        let line = text.lines().last().unwrap();
        line.trim_matches('"').trim().to_owned()
    };
    let cancel = told(busy(), &[Key::Char('c')]);
    assert_eq!(
        last(&cancel),
        "cancel build-linux? y: yes, any other key: no"
    );
    let typed = told(busy(), &[Key::Char('s'), Key::Char('8')]);
    assert!(
        last(&typed).starts_with("jobs at once: 8_"),
        "{}",
        last(&typed)
    );
    let asked = told(busy(), &[Key::Char('p')]);
    assert_eq!(last(&asked), "the run is asked: pause");
    let paused = LiveState {
        paused: true,
        ..busy()
    };
    let paused = drawn(&told(paused, &[]), 80, 24);
    assert!(
        paused.contains("PAUSED") && paused.contains("p continue"),
        "{paused}"
    );
    let held = LiveState {
        held: Some("too little memory".to_owned()),
        ..busy()
    };
    assert!(drawn(&told(held, &[]), 80, 24).contains("too little memory"));
    let mut silent = told(busy(), &[]);
    let _ = silent.update(Message::Tick, Duration::from_secs(7));
    assert!(drawn(&silent, 80, 24).contains("no answer for 7s"));
}

#[test]
fn times_are_told_in_whole_seconds() {
    for (seconds, told) in [(0, "0s"), (59, "59s"), (247, "4m 07s"), (7_500, "2h 05m")] {
        assert_eq!(clock(Duration::from_secs(seconds)), told);
    }
}

#[test]
fn every_size_is_drawn_and_control_characters_are_not() {
    let model = told(busy(), &[]);
    let help = told(busy(), &[Key::Char('?')]);
    for width in [1, 2, 19, 49, 50, 51, 75, 76, 131] {
        for height in [1, 2, 3, 11, 12, 13, 17, 18, 19, 45] {
            for model in [&model, &help] {
                assert!(!drawn(model, width, height).contains('\u{1b}'));
            }
        }
    }
    assert!(drawn(&model, 49, 30).contains("The terminal has 49 x 30 characters"));
}

#[test]
fn colours_are_left_out_where_none_are_wanted() {
    let model = told(busy(), &[]);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal
        .draw(|frame| draw(frame, &model, Palette::new(false)))
        .unwrap();
    let cells = terminal.backend().buffer().content().iter();
    let reset = ratatui::style::Color::Reset;
    assert!(
        cells
            .clone()
            .all(|cell| cell.fg == reset && cell.bg == reset)
    );
    assert!(cells.clone().any(|cell| !cell.modifier.is_empty()));
}
