//! Formats times and durations.

use std::time::{Duration, SystemTime};

use ratchet_runtime::Timestamp;

/// Formats a time in UTC without its zone, as in `2026-03-12T10:15:00`: the schema of `JUnit` has no zone.
pub fn timestamp(time: SystemTime) -> String {
    let mut text = Timestamp::from_system(time).to_string();
    text.truncate("2026-03-12T10:15:00".len());
    text
}

/// Formats how long ago a time was, as in `5m ago`. One unit is enough to tell runs apart.
pub fn ago(now: SystemTime, then: SystemTime) -> String {
    // If the clock was set back, a time may be in the future. It is shown as now.
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// Formats a duration with as many digits as people need, as in `1.2 s` or `2h 05m`.
pub fn duration(duration: Duration) -> String {
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
    fn a_timestamp_is_told_to_the_second_and_without_a_zone() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_399_999);
        assert_eq!(timestamp(time), "2000-02-28T23:59:59");
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
