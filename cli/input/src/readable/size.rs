//! Formats amounts of memory.

/// Formats an amount of memory in the largest unit that does not exceed it, as in `1.0 KiB`.
pub fn bytes(count: u64) -> String {
    let mut unit = "B";
    #[expect(
        clippy::cast_precision_loss,
        reason = "it is shown with one digit after the point"
    )]
    let mut amount = count as f64;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{amount:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_units_of_1024() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (6 << 20, "6.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
