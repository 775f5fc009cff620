//! Times and durations as text.

use std::time::{Duration, SystemTime};

/// A time in UTC without its zone, as in `2026-03-12T10:15:00`: the schema of `JUnit` has no zone.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let clock = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// The date of a day since 1970. Years begin in March in this calculation, so that a leap day is the last day of one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, date)
}

/// How long ago a time was, as in `5m ago`. One unit is enough to tell runs apart.
pub(crate) fn ago(now: SystemTime, then: SystemTime) -> String {
    // After the clock was set back, a time may be in the future. It is shown as now.
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A duration with as many digits as people need, as in `1.2 s` or `2h 05m`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(10) => {
            format!("{:.1} ms", duration.as_secs_f64() * 1e3)
        }
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_798_761_599, "2026-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(timestamp(time), expected);
        }
    }

    #[test]
    fn the_largest_unit_is_told() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(2000);
        for (seconds, expected) in [
            (0, "0s ago"),
            (59, "59s ago"),
            (60, "1m ago"),
            (7199, "1h ago"),
            (86_400, "1d ago"),
        ] {
            assert_eq!(ago(now, now - Duration::from_secs(seconds)), expected);
        }
        assert_eq!(ago(now, now + Duration::from_secs(5)), "0s ago");
    }

    #[test]
    fn a_duration_is_shown_in_the_unit_that_fits() {
        for (millis, expected) in [
            (0, "0.0 ms"),
            (3, "3.0 ms"),
            (120, "120 ms"),
            (1_240, "1.2 s"),
            (63_000, "1m 03s"),
            (7_500_000, "2h 05m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }
}
