//! When a job ran and what it waited for, for people.

use std::fmt::Write as _;

use ratchet_runtime::{AttemptEnd, Outcome, Waits};

use super::human::{indent, printed};
use crate::escape::plain;
use crate::readable::duration;
use crate::style::Style;

/// Formats the lines about when a job began, what it waited for, and each of several attempts, with what the failed ones
/// before the last one printed. Unknown values are left out.
pub(crate) fn times(outcome: &Outcome, style: Style) -> String {
    let mut parts = Vec::new();
    if let Some(started) = outcome.started {
        parts.push(format!("began {started}"));
    }
    if !outcome.waits.is_empty() {
        parts.push(format!("waited {}", waits(&outcome.waits)));
    }
    let mut text = String::new();
    if !parts.is_empty() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {}", parts.join(", "));
    }
    let Some(attempts) = &outcome.several else {
        return text;
    };
    let left_out = attempts.left_out();
    for (number, attempt) in attempts.listed().iter().enumerate() {
        if let Some(rest) = left_out.filter(|rest| rest.after == number) {
            let _ = writeln!(
                text,
                "  ({} more attempts in {})",
                rest.count,
                duration(rest.duration)
            );
        }
        let end = match attempt.end {
            AttemptEnd::Succeeded => "succeeded".to_owned(),
            AttemptEnd::Failed(class) => class.to_string(),
            AttemptEnd::Returned => "was returned before it began".to_owned(),
        };
        let _ = write!(text, "  attempt {}: {end}", attempt.number);
        if attempt.end.is_charged() {
            let _ = write!(text, " after {}", duration(attempt.duration));
        }
        match (&attempt.worker, attempt.slot) {
            (Some(worker), _) => {
                let _ = write!(text, " on {}", plain(worker.as_str()));
            }
            (None, Some(slot)) => {
                let _ = write!(text, " in slot {slot}");
            }
            (None, None) => {}
        }
        // The name of a worker includes its place.
        if let (None, Some(place)) = (&attempt.worker, &attempt.place) {
            let _ = write!(text, " at {}", plain(place.as_str()));
        }
        text.push('\n');
        if let Some(failure) = &attempt.failure {
            indent(&failure.message, "    ", &mut text);
            printed(failure, "    ", style, &mut text);
        }
    }
    text
}

/// Formats how long a job waited in all, and for what, as in `4.2 s (worker 4.0 s, slot 200 ms)`.
pub(crate) fn waits(waits: &Waits) -> String {
    let named = waits
        .iter()
        .map(|(blocker, time)| format!("{} {}", plain(&blocker.word()), duration(time)));
    let named: Vec<String> = named.collect();
    format!("{} ({})", duration(waits.total()), named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratchet_runtime::worker::WorkerName;
    use ratchet_runtime::{
        AttemptDetail, Attempts, Blocker, Class, Failure, Payload, SlotNumber, Timestamp,
    };

    use super::*;

    #[test]
    fn a_job_of_several_attempts_tells_each_and_what_it_waited_for() {
        let mut attempts = Attempts::default();
        for number in 1..=20 {
            attempts.push(AttemptDetail {
                number,
                slot: SlotNumber::new(2),
                place: None,
                worker: (number > 18).then(|| WorkerName::new("w", 1)),
                started: Timestamp::from_millis(1_790_000_000_123),
                duration: Duration::from_millis(1_500),
                usage: None,
                end: match number {
                    1 => AttemptEnd::Returned,
                    20 => AttemptEnd::Succeeded,
                    _ => AttemptEnd::Failed(Class::Exit),
                },
                failure: (number == 2).then(|| {
                    Box::new(Failure::new(Class::Exit, "it ended").stderr("why\n".to_owned()))
                }),
            });
        }
        let outcome = Outcome {
            started: Some(Timestamp::from_millis(1_790_000_000_123)),
            waits: [
                (Blocker::Slot, Duration::from_millis(200)),
                (Blocker::Limit("d\u{1b}b".into()), Duration::from_secs(4)),
            ]
            .into_iter()
            .collect(),
            several: Some(Box::new(attempts)),
            ..Outcome::new("a", "t", Ok(Payload::null()))
        };
        let text = times(&outcome, Style::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 20);
        assert!(lines[0].starts_with("  began 2026-09-21T14:13:20.123Z, waited 4.2 s (limit:d"));
        assert!(lines[0].ends_with("b 4.0 s, slot 200 ms)"));
        assert!(!text.contains('\u{1b}'));
        assert_eq!(
            lines[1],
            "  attempt 1: was returned before it began in slot 2"
        );
        assert_eq!(lines[2], "  attempt 2: exit after 1.5 s in slot 2");
        assert_eq!(lines[3..5], ["    it ended", "    | why"]);
        assert_eq!(lines[11], "  (4 more attempts in 6.0 s)");
        assert_eq!(lines[19], "  attempt 20: succeeded after 1.5 s on w/1");

        let unknown = Outcome::new("a", "t", Ok(Payload::null()));
        assert_eq!(times(&unknown, Style::PLAIN), "");
    }
}
