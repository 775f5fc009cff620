//! Outcomes as result lines, written by hand: every job's outcome is written twice, for its reader and for
//! the journal, and through a serializer that costs more than all else that is done for it.

use std::time::Duration;

use ratchet_ipc::json::{write_decimal, write_string};

use super::{Outcome, wire};

impl Outcome {
    /// Appends the result line, without a line break: the very bytes that its `Serialize` makes with JSON,
    /// several times faster.
    ///
    /// ```
    /// use ratchet_runtime::{Outcome, Payload};
    /// # use std::time::Duration;
    ///
    /// # let outcome = Outcome {
    /// #     id: "a".into(), item: None, task: "t".into(), host: None, result: Ok(Payload::null()), attempts: 1,
    /// #     cached: false, worker: None, queued: Duration::ZERO, duration: Duration::from_micros(1500),
    /// # };
    /// let mut line = Vec::new();
    /// outcome.write_line(&mut line);
    /// assert_eq!(line, serde_json::to_vec(&outcome)?);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn write_line(&self, out: &mut Vec<u8>) {
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
        out.extend_from_slice(b",\"queued_ms\":");
        write_millis(self.queued, out);
        out.extend_from_slice(b",\"duration_ms\":");
        write_millis(self.duration, out);
        out.push(b'}');
    }
}

/// Milliseconds to the microsecond, without zeros at the end of the fraction.
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
    use crate::ids::WorkerName;
    use crate::item::ItemName;
    use crate::os::OutputExcerpt;
    use crate::outcome::{Class, Failure};

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
        );
        parts.prop_map(
            |((id, item, task), host, (result, attempts, cached), (worker, queued, duration))| {
                Outcome {
                    id: id.into(),
                    item: item.map(|item| ItemName::new(&item)),
                    task: task.into(),
                    host: host.map(Into::into),
                    result,
                    attempts,
                    cached,
                    worker: worker.map(|number| WorkerName::new("é\"", number)),
                    queued: Duration::from_micros(queued),
                    duration: Duration::from_micros(duration),
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
    }
}
