//! Writes outcomes as result lines without a serializer. Each outcome is written twice, for its reader and for the
//! journal, and a serializer takes longer for that than all other work for a short job.

use std::borrow::Cow;
use std::time::Duration;

use ratchet_ipc::json::{write_decimal, write_string};

use super::{AttemptUsage, Outcome, wire};
use crate::scheduling::{Blocker, Waits};
use crate::timestamp::Timestamp;

/// Which attempts a result line lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptsShown {
    /// No attempts are listed.
    None,
    /// The attempts are listed if there are several. A single attempt follows from the rest of the line.
    Several,
    /// All attempts are listed.
    All,
}

impl Outcome {
    /// Appends the result line, without a line break: the same bytes as those of [`Serialize`](serde::Serialize) with
    /// JSON, several times faster. It lists the attempts of jobs that had several.
    ///
    /// ```
    /// use ratchet_runtime::{Outcome, Payload};
    /// use std::time::Duration;
    ///
    /// let outcome = Outcome {
    ///     duration: Duration::from_micros(1500),
    ///     ..Outcome::new("a", "t", Ok(Payload::null()))
    /// };
    /// let mut line = Vec::new();
    /// outcome.write_line(&mut line);
    /// assert_eq!(line, serde_json::to_vec(&outcome)?);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn write_line(&self, out: &mut Vec<u8>) {
        self.write_line_with(AttemptsShown::Several, out);
    }

    /// Appends the result line, without a line break, and lists these attempts.
    pub fn write_line_with(&self, shown: AttemptsShown, out: &mut Vec<u8>) {
        /// The greatest length of a line without its result, for most jobs.
        const USUAL: usize = 512;
        out.reserve(USUAL);
        out.extend_from_slice(b"{\"v\":");
        write_decimal(Self::VERSION.into(), out);
        out.extend_from_slice(b",\"id\":");
        write_string(self.id.as_str(), out);
        if let Some(item) = &self.item {
            out.extend_from_slice(b",\"item\":");
            write_string(item.as_str(), out);
        }
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(self.status().as_str().as_bytes());
        match &self.result {
            Ok(result) => {
                out.extend_from_slice(b"\",\"result\":");
                out.extend_from_slice(result.as_str().as_bytes());
            }
            Err(failure) => {
                out.extend_from_slice(b"\",\"error\":");
                wire::write_failure(failure, out);
            }
        }
        out.extend_from_slice(b",\"attempts\":");
        write_decimal(self.attempts.into(), out);
        out.extend_from_slice(if self.cached {
            b",\"cached\":true"
        } else {
            b",\"cached\":false"
        });
        if self.is_flaky() {
            out.extend_from_slice(b",\"flaky\":true");
        }
        if self.unrecorded {
            out.extend_from_slice(b",\"unrecorded\":true");
        }
        if let Some(host) = &self.host {
            out.extend_from_slice(b",\"host\":");
            write_string(host.as_str(), out);
        }
        out.extend_from_slice(b",\"task\":");
        write_string(self.task.as_str(), out);
        if let Some(worker) = &self.worker {
            out.extend_from_slice(b",\"worker\":");
            write_string(worker.as_str(), out);
        }
        if let Some(place) = &self.place {
            out.extend_from_slice(b",\"place\":");
            write_string(place.as_str(), out);
        }
        out.extend_from_slice(b",\"queued_ms\":");
        write_millis(self.queued, out);
        out.extend_from_slice(b",\"duration_ms\":");
        write_millis(self.duration, out);
        if let Some(slot) = self.slot {
            out.extend_from_slice(b",\"slot\":");
            write_decimal(slot.get().into(), out);
        }
        write_timestamp(b",\"started_at\":\"", self.started, out);
        write_timestamp(b",\"ended_at\":\"", self.ended, out);
        write_waits(&self.waits, out);
        if let Some(usage) = &self.usage {
            write_usage(usage, out);
        }
        let attempts = match shown {
            AttemptsShown::None => None,
            AttemptsShown::Several => self.several.as_deref().map(Cow::Borrowed),
            AttemptsShown::All => Some(self.attempts_detail()),
        };
        if let Some(attempts) = attempts {
            out.extend_from_slice(b",\"attempts_detail\":");
            wire::write_attempts(&attempts, out);
            if let Some(left_out) = attempts.left_out() {
                out.extend_from_slice(b",\"attempts_left_out\":");
                wire::write_left_out(left_out, out);
            }
        }
        out.push(b'}');
    }
}

fn write_timestamp(name: &[u8], at: Option<Timestamp>, out: &mut Vec<u8>) {
    if let Some(at) = at {
        out.extend_from_slice(name);
        out.extend_from_slice(&at.to_text());
        out.push(b'"');
    }
}

fn write_usage(usage: &AttemptUsage, out: &mut Vec<u8>) {
    if let Some(cpu) = usage.cpu {
        out.extend_from_slice(b",\"cpu_ms\":");
        write_millis(cpu, out);
    }
    if let Some(bytes) = usage.max_rss {
        out.extend_from_slice(b",\"max_rss\":");
        write_decimal(bytes, out);
    }
    if let Some(bytes) = usage.output_bytes {
        out.extend_from_slice(b",\"output_bytes\":");
        write_decimal(bytes, out);
    }
}

fn write_waits(waits: &Waits, out: &mut Vec<u8>) {
    let mut before: &[u8] = b",\"waited\":{";
    for (blocker, time) in wire::nonzero_waits(waits) {
        out.extend_from_slice(before);
        before = b",";
        match blocker {
            // A name may contain any character.
            Blocker::Limit(_) | Blocker::Resource(_) => write_string(&blocker.word(), out),
            plain => {
                out.push(b'"');
                out.extend_from_slice(plain.word().as_bytes());
                out.push(b'"');
            }
        }
        out.push(b':');
        write_millis(time, out);
    }
    if before == b"," {
        out.push(b'}');
    }
}

/// Writes milliseconds with up to three decimal places, without zeros at the end of the fraction.
fn write_millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    write_decimal(micros / 1000, out);
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
    let rest = micros % 1000;
    let fraction = [b'.', digit(rest / 100), digit(rest / 10), digit(rest)];
    let length = match rest {
        0 => 0,
        _ if rest.is_multiple_of(100) => 2,
        _ if rest.is_multiple_of(10) => 3,
        _ => 4,
    };
    out.extend_from_slice(&fraction[..length]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratchet_ipc::Payload;

    use super::*;
    use crate::ids::{PlaceName, SlotNumber, WorkerName};
    use crate::item::ItemName;
    use crate::os::OutputExcerpt;
    use crate::outcome::{AttemptDetail, AttemptEnd, Attempts, Class, Failure};

    fn failure() -> impl Strategy<Value = Failure> {
        let parts = (
            proptest::sample::select(&Class::ALL[..]),
            ".{0,8}",
            any::<bool>(),
            proptest::option::of(0_u64..100_000_000),
            proptest::option::of(".{1,8}"),
        );
        parts.prop_map(|(class, text, retryable, after, more)| Failure {
            code: more.clone().map(Into::into),
            retry_after: after.map(Duration::from_micros),
            data: more.as_deref().map(Payload::from_text),
            stdout: more
                .clone()
                .map(|text| OutputExcerpt::with_gap(text, 7, "é")),
            stderr: more.map(OutputExcerpt::from),
            ..Failure::new(class, text).retryable(retryable)
        })
    }

    fn waits() -> impl Strategy<Value = Waits> {
        let blocker = prop_oneof![
            Just(Blocker::Needs),
            Just(Blocker::Worker),
            Just(Blocker::Slot),
            ".{0,4}".prop_map(|name| Blocker::Limit(name.into())),
        ];
        let time = prop_oneof![0_u64..2_000, 0_u64..3_000_000_000_000_000];
        let times = proptest::collection::vec((blocker, time.prop_map(Duration::from_nanos)), 0..4);
        times.prop_map(|times| times.into_iter().collect())
    }

    fn used(number: u32) -> AttemptUsage {
        AttemptUsage {
            cpu: number
                .is_multiple_of(2)
                .then(|| Duration::from_micros(number.into())),
            max_rss: number.is_multiple_of(3).then_some(number.into()),
            output_bytes: Some(number.into()),
        }
    }

    fn attempts() -> impl Strategy<Value = Option<Box<Attempts>>> {
        let end = prop_oneof![
            Just(AttemptEnd::Succeeded),
            Just(AttemptEnd::Returned),
            proptest::sample::select(&Class::ALL[..]).prop_map(AttemptEnd::Failed),
        ];
        let attempt = (
            any::<u32>(),
            proptest::option::of(0_u64..9),
            any::<u32>(),
            end,
        );
        let attempt = attempt.prop_map(|(number, worker, time, end)| AttemptDetail {
            number,
            slot: SlotNumber::new(number % 3),
            worker: worker.map(|number| WorkerName::new("w\"", number)),
            place: (number % 5 == 0).then(|| PlaceName::new("p\"")),
            started: Timestamp::from_millis(1_790_000_000_000 + u64::from(time)),
            duration: Duration::from_micros(time.into()),
            usage: number.is_multiple_of(3).then(|| used(time)),
            end,
            failure: end.class().filter(|_| number % 2 == 0).map(|class| {
                Box::new(Failure::new(class, "it \"failed\"").stderr("why".to_owned()))
            }),
        });
        let list = proptest::collection::vec(attempt, 0..40).prop_map(|list| {
            let mut attempts = Attempts::default();
            for attempt in list {
                attempts.push(attempt);
            }
            Box::new(attempts)
        });
        proptest::option::of(list)
    }

    fn times() -> impl Strategy<Value = (Option<Timestamp>, Option<Timestamp>)> {
        let time = || proptest::option::of(any::<u64>().prop_map(Timestamp::from_millis));
        (time(), time())
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let result = prop_oneof![
            ".{0,8}".prop_map(|text| Ok(Payload::from_text(&text))),
            failure().prop_map(|failure| Err(Box::new(failure))),
        ];
        // A serializer writes a float in the shortest way, which is this one for the first hundred years.
        let micros = || prop_oneof![0_u64..5000, 0_u64..3_000_000_000_000_000];
        let parts = (
            (".{0,6}", proptest::option::of(".{0,6}"), ".{0,6}"),
            proptest::option::of(".{0,6}"),
            (result, any::<u32>(), any::<bool>()),
            (proptest::option::of(0_u64..99), micros(), micros()),
            (0_u32..3, times(), waits(), attempts()),
        );
        parts.prop_map(
            |(
                (id, item, task),
                host,
                (result, attempts, cached),
                (worker, queued, duration),
                (slot, (started, ended), waits, several),
            )| {
                Outcome {
                    id: id.into(),
                    item: item.map(|item| ItemName::new(&item)),
                    task: task.into(),
                    host: host.map(Into::into),
                    result,
                    attempts,
                    cached,
                    worker: worker.map(|number| WorkerName::new("é\"", number)),
                    place: (slot == 2).then(|| PlaceName::new("é\"")),
                    queued: Duration::from_micros(queued),
                    duration: Duration::from_micros(duration),
                    slot: SlotNumber::new(slot),
                    started,
                    ended,
                    waits,
                    usage: attempts.is_multiple_of(4).then(|| Box::new(used(attempts))),
                    several,
                    unrecorded: attempts.is_multiple_of(5),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_line_is_what_a_serializer_makes_of_it(outcome in outcome()) {
            let mut line = b"before ".to_vec();
            outcome.write_line(&mut line);
            let expected = format!("before {}", serde_json::to_string(&outcome).unwrap());
            prop_assert_eq!(String::from_utf8(line).unwrap(), expected);
        }

        #[test]
        fn a_line_that_is_read_and_written_again_is_the_same(outcome in outcome()) {
            let mut line = Vec::new();
            outcome.write_line(&mut line);
            let read: Outcome = serde_json::from_slice(&line).unwrap();
            let mut again = Vec::new();
            read.write_line(&mut again);
            // The retry delay is kept to the microsecond, and of a failed attempt its class.
            prop_assert_eq!(String::from_utf8(again), String::from_utf8(line));
        }

        #[test]
        fn lines_differ_by_their_attempts_alone(outcome in outcome()) {
            let line = |shown| {
                let mut line = Vec::new();
                outcome.write_line_with(shown, &mut line);
                serde_json::from_slice::<serde_json::Map<_, _>>(&line).unwrap()
            };
            let (none, several, mut all) =
                (line(AttemptsShown::None), line(AttemptsShown::Several), line(AttemptsShown::All));
            prop_assert!(all.contains_key("attempts_detail"));
            prop_assert_eq!(several.contains_key("attempts_detail"), outcome.several.is_some());
            all.remove("attempts_detail");
            all.remove("attempts_left_out");
            prop_assert_eq!(none, all);
        }
    }
}
