//! Reads numbers by the core schema of YAML 1.2.

use std::borrow::Cow;

/// The number that a word without quotes represents.
pub(super) enum Number<'a> {
    /// A number, as JSON writes it. It is borrowed if the word is already in that form.
    Is(Cow<'a, str>),
    /// The word is not a number.
    Not,
    /// A number that some readers interpret differently, or that JSON cannot represent. The text is the reason.
    Odd(&'static str),
}

/// Reads a word as a number.
pub(super) fn number(text: &str) -> Number<'_> {
    // Most words are not numbers, which their first character shows.
    if !text.starts_with(|first: char| matches!(first, '+' | '-' | '.' | '0'..='9')) {
        return Number::Not;
    }
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Number::Odd("a number that JSON does not have");
    }
    if sign.is_empty() && digits == text {
        let other = |prefix, radix| {
            text.strip_prefix(prefix)
                .and_then(|digits: &str| u64::from_str_radix(digits, radix).ok())
        };
        if let Some(number) = other("0x", 16).or_else(|| other("0o", 8)) {
            return Number::Is(number.to_string().into());
        }
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let power = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let is_number = all_digits(whole)
        && fraction.is_none_or(all_digits)
        && !(whole.is_empty() && fraction.is_none_or(str::is_empty))
        && power.is_none_or(|power| !power.is_empty() && all_digits(power));
    if !is_number {
        return Number::Not;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Number::Odd("a number with leading zeros is read differently by different readers");
    }
    let is_json =
        !text.starts_with('+') && !whole.is_empty() && fraction != Some("") && !text.contains('E');
    if is_json {
        return Number::Is(text.into());
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let mut json = format!("{sign}{whole}");
    if let Some(fraction) = fraction {
        json.push('.');
        json.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    if let Some(exponent) = exponent {
        json.push('e');
        json.push_str(exponent);
    }
    Number::Is(json.into())
}
