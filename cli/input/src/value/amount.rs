//! Counts and percentages.

use std::fmt;
use std::num::NonZeroU32;

use ratchet_runtime::MaxFailures;
use ratchet_runtime::process::Prefetch;

use super::ValueError;

/// A number of jobs, or a percentage of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A number of jobs.
    Count(u64),
    /// A percentage of all jobs, from 0 to 100.
    Percent(f64),
}

impl Amount {
    /// Returns the rule that stops a run after this many failures; 0 never stops it.
    pub fn max_failures(self) -> Option<MaxFailures> {
        match self {
            Self::Count(0) => None,
            Self::Count(count) => Some(MaxFailures::Count(count)),
            Self::Percent(percent) if percent > 0.0 => Some(MaxFailures::percent(percent)),
            Self::Percent(_) => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(out),
            Self::Percent(percent) => write!(out, "{percent}%"),
        }
    }
}

/// Reads `3` or `10%`.
pub fn amount(text: &str) -> Result<Amount, ValueError> {
    let written = text.trim();
    let Some(number) = written.strip_suffix('%') else {
        return count(written).map(Amount::Count);
    };
    match number.trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Amount::Percent(percent)),
        Ok(_) => Err(ValueError::new(format!(
            "`{written}` is not between 0% and 100%"
        ))),
        Err(_) => {
            Err(ValueError::new(format!("`{written}` is not a percentage")).hint("write as in 10%"))
        }
    }
}

/// Reads a whole number of at least 0.
pub fn count(text: &str) -> Result<u64, ValueError> {
    let written = text.trim();
    if !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return written
            .parse()
            .map_err(|_| ValueError::new(format!("`{written}` is too large")));
    }
    Err(ValueError::new(format!(
        "`{written}` is not a whole number"
    )))
}

/// Reads a whole number of at least 1.
pub fn positive(text: &str) -> Result<NonZeroU32, ValueError> {
    let number = count(text)?;
    let number =
        u32::try_from(number).map_err(|_| ValueError::new(format!("`{number}` is too large")))?;
    NonZeroU32::new(number).ok_or_else(|| ValueError::new("0 is too small").hint("at least 1"))
}

/// Reads `auto` or a number.
pub fn prefetch(text: &str) -> Result<Prefetch, ValueError> {
    if text.trim() == "auto" {
        return Ok(Prefetch::Auto);
    }
    let number = count(text).map_err(|error| error.hint("write `auto` or a number"))?;
    u32::try_from(number)
        .map(Prefetch::Fixed)
        .map_err(|_| ValueError::new(format!("`{number}` is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counts_and_shares() {
        assert_eq!(amount("3"), Ok(Amount::Count(3)));
        assert_eq!(amount("10%"), Ok(Amount::Percent(10.0)));
        assert_eq!(amount("0"), Ok(Amount::Count(0)));
        assert_eq!(prefetch("auto"), Ok(Prefetch::Auto));
        assert_eq!(prefetch("7"), Ok(Prefetch::Fixed(7)));
        assert_eq!(positive("4").map(NonZeroU32::get), Ok(4));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "", "-1", "1.5", "x", "101%", "-1%", "%", "NaN%", "+1", "1e3",
        ] {
            assert!(amount(text).is_err(), "{text}");
        }
        for text in ["0", "4294967296", "99999999999999999999999"] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert!(prefetch("many").is_err());
    }
}
