//! Sizes such as `500MB` and `2GiB`.

use super::{ValueError, split_number};

/// The units: powers of 1000 without an i, powers of 1024 with one. A single letter is a power of 1024, as in most
/// tools: `512M` is 512 MiB.
const UNITS: [(&str, u64); 15] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("K", 1 << 10),
    ("k", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

/// The hint for a text that is not a size.
const EXAMPLES: &str = "write a number and a unit, as in 500MB or 2GiB";

/// Returns the units that a size can have.
pub fn units() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(name, _)| *name)
}

/// Reads a size, in bytes.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let written = text.trim();
    let (number, unit) = split_number(written);
    let unit = unit.trim_start();
    if number.is_empty() || number == "." {
        return Err(ValueError::new(format!("`{written}` is not a size")).hint(EXAMPLES));
    }
    if unit.is_empty() {
        return Err(
            ValueError::new(format!("`{written}` has no unit")).hint(format!(
                "write `{written}B` for bytes, or as in 500MB or 2GiB"
            )),
        );
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let error = ValueError::new(format!("`{written}` has an unknown unit `{unit}`"));
        let near = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        return Err(match near {
            Some((name, _)) => error.hint(format!("did you mean `{number}{name}`?")),
            None => error.hint("the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB; K, M, G and T are KiB, MiB, GiB and TiB"),
        });
    };
    scaled(number, *factor).ok_or_else(|| ValueError::new(format!("`{written}` is too large")))
}

/// Formats a size in the largest unit that represents it exactly.
pub fn show_size(bytes: u64) -> String {
    let exact = ["TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB"]
        .into_iter()
        .filter_map(|unit| UNITS.iter().find(|(name, _)| *name == unit))
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match exact {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { "0" } else { whole };
    let mut bytes = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    // Digits after the twelfth are worth less than a byte in every unit.
    let fraction = &fraction[..fraction.len().min(12)];
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().ok()?;
        let ten = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        bytes = bytes.checked_add(u64::try_from(digits * u128::from(factor) / ten).ok()?)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("1.5KiB", 1536),
            ("512M", 512 << 20),
            ("1T", 1 << 40),
            ("1000B", 1000),
            ("0.5GB", 500_000_000),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_small_k_is_a_kibibyte_like_a_large_one() {
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("64k"), size("64K"));
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_way_out() {
        for (text, said) in [
            ("500", "write `500B` for bytes"),
            ("", "is not a size"),
            ("-1GB", "is not a size"),
            ("2gib", "did you mean `2GiB`?"),
            ("2XB", "the units are"),
            ("99999999999999999999B", "too large"),
            ("99999999999TiB", "too large"),
        ] {
            let error = size(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["2GiB", "500MB", "0B", "1537B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }
}
