//! Durations such as `30s`, `100ms`, `1m30s` and `1.5h`.

use std::time::Duration;

use super::{ValueError, split_number};

/// The units in nanoseconds. A duration has to use them in this order.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("m", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The number of nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// The longest duration, a century. Longer ones have no use, and could overflow a clock.
const LONGEST: u128 = 36_525 * 86_400 * NANOS;

/// Reads a duration. A number without a unit is refused, because its meaning would be a guess.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    read(text).map_err(|error| match meant(text.trim()) {
        Some(meant) => ValueError::new(error.reason).hint(format!("did you mean `{meant}`?")),
        None => error,
    })
}

fn read(text: &str) -> Result<Duration, ValueError> {
    let written = text.trim();
    if written.is_empty() {
        return Err(ValueError::new("the duration is missing").hint(EXAMPLES));
    }
    if written.starts_with('-') {
        return Err(ValueError::new(format!("`{written}` is negative")).hint(EXAMPLES));
    }
    let mut rest = written;
    let mut nanos: u128 = 0;
    let mut before: Option<usize> = None;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if number.is_empty() || number == "." {
            return Err(ValueError::new(format!("`{written}` is not a duration")).hint(EXAMPLES));
        }
        if unit.is_empty() {
            let word = after.trim_start();
            let end = word.find(|c: char| !c.is_alphabetic());
            let word = &word[..end.unwrap_or(word.len())];
            return Err(match place(word) {
                Some(_) => ValueError::new(format!("`{written}` has a blank before its unit")),
                None if word.is_empty() => plain(written, rest == written, after),
                None => unknown(written, word),
            });
        }
        let place = place(unit).ok_or_else(|| unknown(written, unit))?;
        if before.is_some_and(|before| before >= place) {
            return Err(ValueError::new(format!("`{written}` is not a duration"))
                .hint("write each unit once, the largest first, as in 1h30m"));
        }
        before = Some(place);
        nanos = scaled(number, UNITS[place].1)
            .and_then(|more| nanos.checked_add(more))
            .filter(|nanos| *nanos <= LONGEST)
            .ok_or_else(|| {
                ValueError::new(format!("`{written}` is longer than a hundred years"))
            })?;
        rest = after;
    }
    Ok(from_nanos(nanos))
}

#[expect(
    clippy::expect_used,
    reason = "a century has fewer than 2^32 seconds, and a second fewer than 2^32 nanoseconds"
)]
fn from_nanos(nanos: u128) -> Duration {
    debug_assert!(nanos <= LONGEST);
    let seconds = u64::try_from(nanos / NANOS).expect("seconds of a century");
    let nanos = u32::try_from(nanos % NANOS).expect("nanoseconds of a second");
    Duration::new(seconds, nanos)
}

/// Formats a duration as the shortest text that is read back as the same duration.
pub fn show_duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if left >= nanos {
            text.push_str(&(left / nanos).to_string());
            text.push_str(unit);
            left %= nanos;
        }
    }
    text
}

/// The hint for a text that is not a duration.
const EXAMPLES: &str = "write a number and a unit, as in 30s, 100ms or 1m30s";

fn place(unit: &str) -> Option<usize> {
    let unit = if unit == "µs" || unit == "μs" {
        "us"
    } else {
        unit
    };
    UNITS.iter().position(|(name, _)| *name == unit)
}

fn plain(written: &str, whole: bool, after: &str) -> ValueError {
    let reason = format!("`{written}` has no unit");
    let is_zero = written.bytes().all(|digit| digit == b'0');
    if whole && after.is_empty() && !is_zero {
        return ValueError::new(reason).hint(format!("write `{written}s` for seconds"));
    }
    ValueError::new(reason).hint(EXAMPLES)
}

fn unknown(written: &str, unit: &str) -> ValueError {
    ValueError::new(format!("`{written}` has an unknown unit `{unit}`"))
        .hint("the units are d, h, m, s, ms, us and ns")
}

/// Returns a valid duration for a text with whole words, capitals or blanks, as in `1 minute`.
fn meant(written: &str) -> Option<String> {
    let mut meant = String::new();
    let mut rest = written;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if number.is_empty() && unit.is_empty() {
            return None;
        }
        let unit = unit.to_lowercase();
        meant.push_str(number);
        meant.push_str(match unit.as_str() {
            "sec" | "secs" | "second" | "seconds" => "s",
            "min" | "mins" | "minute" | "minutes" => "m",
            "hr" | "hrs" | "hour" | "hours" => "h",
            "day" | "days" => "d",
            "msec" | "msecs" | "millis" | "milliseconds" | "millisecond" => "ms",
            other => other,
        });
        rest = after.trim_start_matches([' ', ',']);
    }
    (meant != written && read(&meant).is_ok()).then_some(meant)
}

/// Multiplies a decimal number by an integer, exactly, down to the nanosecond.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { "0" } else { whole };
    let mut nanos = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    let mut share = unit;
    for digit in fraction.bytes() {
        share /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * share)?;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, nanos) in [
            ("30s", 30 * NANOS),
            ("100ms", 100_000_000),
            ("1m30s", 90 * NANOS),
            ("1.5h", 5400 * NANOS),
            ("0s", 0),
            ("2d", 172_800 * NANOS),
            ("250us", 250_000),
            ("250µs", 250_000),
            (" 5s ", 5 * NANOS),
            (".5s", 500_000_000),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_way_out() {
        for (text, said) in [
            ("30", "`30` has no unit; write `30s` for seconds"),
            ("1m30", "`1m30` has no unit; write a number and a unit"),
            ("0", "`0` has no unit; write a number and a unit"),
            ("", "the duration is missing"),
            ("1%", "no unit"),
            ("-5s", "`-5s` is negative"),
            ("soon", "`soon` is not a duration"),
            ("5sec", "did you mean `5s`?"),
            ("5S", "did you mean `5s`?"),
            ("5parsecs", "the units are d, h, m"),
            (
                "3 parsecs",
                "an unknown unit `parsecs`; the units are d, h, m",
            ),
            ("5 minutes", "an unknown unit `minutes`; did you mean `5m`?"),
            ("1 s", "a blank before its unit; did you mean `1s`?"),
            ("5s1m", "the largest first"),
            ("5s5s", "each unit once"),
            ("1.2.3s", "has no unit"),
            ("999999999999999999999999999999d", "hundred years"),
            (
                "99999999999999999999999999999999999999999999s",
                "hundred years",
            ),
            ("1 s", "did you mean `1s`?"),
            ("1 minute", "did you mean `1m`?"),
            ("1 hour, 30 Minutes", "did you mean `1h30m`?"),
            ("1 fortnight", "an unknown unit `fortnight`"),
        ] {
            let error = duration(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["0s", "1m30s", "100ms", "1d2h3m4s5ms6us7ns"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }
}
