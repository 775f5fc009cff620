//! Trace contexts as the W3C defines them: the place of a run, its jobs and its attempts in a distributed trace.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use ratchet_ipc::JobKey;

/// The environment variable that names the span within which a process runs, in the form of [`TraceParent`].
pub const TRACE_PARENT_VARIABLE: &str = "TRACEPARENT";

/// The length of a trace parent of version 00.
const LENGTH: usize = 55;

/// The flag that says that the caller may have recorded the span.
const SAMPLED: u8 = 1;

/// The identity of a trace: 16 bytes, not all of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The identity of a span within its trace: 8 bytes, not all of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// Draws an identity at random.
    fn random() -> Self {
        let (high, low) = (random(), random());
        // One of 2^128 draws is 0, which is no identity.
        Self(
            ((u128::from(high) << 64) | u128::from(low))
                .max(1)
                .to_be_bytes(),
        )
    }
}

impl SpanId {
    /// Makes an identity of a number. 0 becomes 1, because an identity of zeros is not valid.
    fn of(number: u64) -> Self {
        Self(number.max(1).to_be_bytes())
    }
}

/// Draws a number from the random keys that the system gives the standard library.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// A span that is the parent of others, as the header `traceparent` and the variable `TRACEPARENT` name it.
///
/// ```
/// use ratchet_runtime::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent: TraceParent = text.parse().unwrap();
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    is_sampled: bool,
}

impl TraceParent {
    /// Returns the trace to which the span belongs.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// Returns the span.
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// Whether the span is recorded, so that those below it are to be recorded as well.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled) * SAMPLED;
        write!(f, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

/// Why a text is no trace parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTraceParent {
    /// The text does not have the form of one.
    #[error(
        "it does not have the form `00-<32 digits>-<16 digits>-<2 digits>`, with hexadecimal digits in lower case"
    )]
    Form,
    /// The version is ff, which is forbidden.
    #[error("its version is ff, which is not allowed")]
    Version,
    /// The identity of the trace, or of the span, consists of zeros.
    #[error("an id of nothing but zeros names no trace and no span")]
    Zero,
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.as_bytes();
        let [version] = digits(bytes, 0)?;
        if version == 0xff {
            return Err(InvalidTraceParent::Version);
        }
        // Later versions may add fields at the end, and only there.
        let is_whole = match bytes.get(LENGTH) {
            None => bytes.len() == LENGTH,
            Some(next) => version != 0 && *next == b'-',
        };
        let has_dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !is_whole || !has_dashes {
            return Err(InvalidTraceParent::Form);
        }
        let (trace, span) = (digits(bytes, 3)?, digits(bytes, 36)?);
        let [flags] = digits(bytes, 53)?;
        if trace == [0; 16] || span == [0; 8] {
            return Err(InvalidTraceParent::Zero);
        }
        Ok(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

/// Reads bytes that are written as two lower-case hexadecimal digits each, from this position on.
fn digits<const N: usize>(text: &[u8], from: usize) -> Result<[u8; N], InvalidTraceParent> {
    let digit = |at: usize| match text.get(at) {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        _ => Err(InvalidTraceParent::Form),
    };
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let at = from + 2 * index;
        *byte = (digit(at)? << 4) | digit(at + 1)?;
    }
    Ok(bytes)
}

/// The place of a run in a trace, from which the spans of its jobs and attempts follow.
///
/// The identity of a span is computed from the run, the id of the job and the number of the attempt. So the code that tells a
/// command its span and the code that records the span later need not share a table of all spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTrace {
    run: TraceParent,
    parent: Option<TraceParent>,
}

impl RunTrace {
    /// Begins the span of a run: within the parent if there is one, else in a new trace.
    pub fn begin(parent: Option<TraceParent>) -> Self {
        let trace = parent.map_or_else(TraceId::random, |parent| parent.trace);
        let run = TraceParent {
            trace,
            span: SpanId::of(random()),
            is_sampled: parent.is_none_or(|parent| parent.is_sampled),
        };
        Self { run, parent }
    }

    /// Returns the span of the run.
    pub fn run(&self) -> TraceParent {
        self.run
    }

    /// Returns the span within which the run was started.
    pub fn parent(&self) -> Option<TraceParent> {
        self.parent
    }

    /// Returns the span of a job.
    pub fn job(&self, job: &JobKey) -> TraceParent {
        self.within(job, 0)
    }

    /// Returns the span of an attempt, whose number is at least 1.
    pub fn attempt(&self, job: &JobKey, number: u32) -> TraceParent {
        self.within(job, number)
    }

    fn within(&self, job: &JobKey, attempt: u32) -> TraceParent {
        let mut hasher = DefaultHasher::new();
        (self.run.span, job.as_str(), attempt).hash(&mut hasher);
        TraceParent {
            span: SpanId::of(hasher.finish()),
            ..self.run
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(text: &str) -> Result<TraceParent, InvalidTraceParent> {
        text.parse()
    }

    #[test]
    fn a_trace_parent_is_read_as_it_is_written() {
        let parent = parsed(PARENT).unwrap();
        assert_eq!(parent.to_string(), PARENT);
        assert_eq!(
            parent.trace().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parent.span().to_string(), "00f067aa0ba902b7");
        let unsampled = PARENT.replace("-01", "-00");
        assert!(!parsed(&unsampled).unwrap().is_sampled());
        assert_eq!(parsed(&unsampled).unwrap().to_string(), unsampled);
    }

    #[test]
    fn flags_that_are_not_known_are_not_passed_on() {
        let parent = parsed(&PARENT.replace("-01", "-ff")).unwrap();
        assert_eq!(parent.to_string(), PARENT);
    }

    #[test]
    fn a_later_version_may_have_more_at_its_end_and_is_passed_on_as_version_00() {
        for more in ["", "-", "-what the future will be like"] {
            let later = format!("cc{}{more}", &PARENT[2..]);
            assert_eq!(parsed(&later).unwrap().to_string(), PARENT);
        }
        let glued = format!("cc{}.what", &PARENT[2..]);
        assert_eq!(parsed(&glued), Err(InvalidTraceParent::Form));
    }

    #[test]
    fn a_malformed_trace_parent_is_refused_with_its_reason() {
        let form = Err(InvalidTraceParent::Form);
        for text in [
            "",
            "00",
            "00-",
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &format!("{PARENT} "),
            &format!(" {PARENT}"),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            &PARENT.replace("4bf9", "4bg9"),
            &PARENT.replace("4bf9", "4b\u{e9}9"),
            &PARENT.replace("-01", "-0g"),
        ] {
            assert_eq!(parsed(text), form, "{text}");
        }
        let version = PARENT.replacen("00", "ff", 1);
        assert_eq!(parsed(&version), Err(InvalidTraceParent::Version));
        let zero = Err(InvalidTraceParent::Zero);
        assert_eq!(
            parsed(&PARENT.replace("00f067aa0ba902b7", &"0".repeat(16))),
            zero
        );
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(parsed(&PARENT.replace(trace, &"0".repeat(32))), zero);
    }

    #[test]
    fn the_spans_of_a_run_are_in_the_trace_of_its_parent_and_all_different() {
        let parent = parsed(PARENT).unwrap();
        let traces = [0, 1].map(|_| RunTrace::begin(Some(parent)));
        let mut spans = HashSet::new();
        for trace in traces {
            assert_eq!(trace.parent(), Some(parent));
            for span in [
                parent,
                trace.run(),
                trace.job(&JobKey::from("a")),
                trace.job(&JobKey::from("b")),
                trace.attempt(&JobKey::from("a"), 1),
                trace.attempt(&JobKey::from("a"), 2),
                trace.attempt(&JobKey::from("b"), 1),
            ] {
                assert_eq!(span.trace(), parent.trace());
                assert!(span.is_sampled());
                spans.insert(span.span());
            }
        }
        // The parent is the same one in both runs.
        assert_eq!(spans.len(), 13);
        let again = traces[0].attempt(&JobKey::from("a"), 1);
        assert_eq!(again, traces[0].attempt(&JobKey::from("a"), 1));
    }

    #[test]
    fn a_run_without_a_parent_begins_a_trace_of_its_own() {
        let (one, other) = (RunTrace::begin(None), RunTrace::begin(None));
        assert_ne!(one.run().trace(), other.run().trace());
        assert!(one.run().is_sampled());
        let unsampled = parsed(&PARENT.replace("-01", "-00")).unwrap();
        let run = RunTrace::begin(Some(unsampled));
        assert!(!run.attempt(&JobKey::from("a"), 1).is_sampled());
    }
}
