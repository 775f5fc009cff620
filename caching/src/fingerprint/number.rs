//! Numbers, compared without rounding.

/// A number as it stands at the beginning of a text.
pub(super) struct Number<'a> {
    /// How many bytes it takes.
    pub(super) length: usize,
    negative: bool,
    integer: &'a [u8],
    fraction: Option<&'a [u8]>,
    exponent: Option<Exponent<'a>>,
}

struct Exponent<'a> {
    negative: bool,
    digits: &'a [u8],
}

/// The exponent does not fit.
#[derive(Debug)]
pub(super) struct HugeExponent;

/// The length of the number that a text begins with, if it is a positive integer: the usual case, done with at once.
pub(super) fn plain_integer(text: &[u8]) -> Option<usize> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_plain = !matches!(text.get(length), Some(b'.' | b'e' | b'E'))
        && (length == 1 || (length > 1 && text[0] != b'0'));
    is_plain.then_some(length)
}

/// Reads the number that a text begins with, or says after how many bytes it stops being one.
pub(super) fn read(text: &[u8]) -> Result<Number<'_>, usize> {
    let negative = text.first() == Some(&b'-');
    let mut position = usize::from(negative);
    let integer = digits(text, &mut position)?;
    if integer.len() > 1 && integer[0] == b'0' {
        return Err(position - integer.len() + 1);
    }
    let mut fraction = None;
    if text.get(position) == Some(&b'.') {
        position += 1;
        fraction = Some(digits(text, &mut position)?);
    }
    let mut exponent = None;
    if let Some(b'e' | b'E') = text.get(position) {
        position += 1;
        let sign = text
            .get(position)
            .filter(|byte| matches!(byte, b'+' | b'-'));
        position += usize::from(sign.is_some());
        let digits = digits(text, &mut position)?;
        exponent = Some(Exponent {
            negative: sign == Some(&b'-'),
            digits,
        });
    }
    Ok(Number {
        length: position,
        negative,
        integer,
        fraction,
        exponent,
    })
}

/// Reads one digit or more.
fn digits<'a>(text: &'a [u8], position: &mut usize) -> Result<&'a [u8], usize> {
    let start = *position;
    let length = text[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    *position += length;
    if length == 0 {
        Err(start)
    } else {
        Ok(&text[start..start + length])
    }
}

impl Number<'_> {
    /// Writes the canonical spelling: an integer as it is, anything else as `digits e exponent`, where the digits
    /// neither begin nor end with a zero.
    pub(super) fn write(&self, output: &mut Vec<u8>) -> Result<(), HugeExponent> {
        if self.negative {
            output.push(b'-');
        }
        if self.fraction.is_none() && self.exponent.is_none() {
            output.extend_from_slice(self.integer);
            return Ok(());
        }
        let fraction = self.fraction.unwrap_or_default();
        // The significant digits are those from the first that is not zero to the last that is not zero.
        let digit = |index: usize| {
            if index < self.integer.len() {
                self.integer[index]
            } else {
                fraction[index - self.integer.len()]
            }
        };
        let count = self.integer.len() + fraction.len();
        let Some(first) = (0..count).find(|&index| digit(index) != b'0') else {
            output.extend_from_slice(b"0e0");
            return Ok(());
        };
        let last = (first..count)
            .rfind(|&index| digit(index) != b'0')
            .unwrap_or(first);
        let exponent = self.exponent.as_ref().map_or(Ok(0), Exponent::value)?;
        // Lengths of texts are far below 2^63, and the exponent is below 10^18: no overflow.
        let shift = i128::try_from(self.integer.len()).map_err(|_| HugeExponent)?
            - 1
            - i128::try_from(last).map_err(|_| HugeExponent)?;
        output.extend_from_slice(
            &self.integer[first.min(self.integer.len())..(last + 1).min(self.integer.len())],
        );
        if last >= self.integer.len() {
            output.extend_from_slice(
                &fraction[first.saturating_sub(self.integer.len())..=last - self.integer.len()],
            );
        }
        output.push(b'e');
        output.extend_from_slice((i128::from(exponent) + shift).to_string().as_bytes());
        Ok(())
    }
}

impl Exponent<'_> {
    fn value(&self) -> Result<i64, HugeExponent> {
        let zeros = self
            .digits
            .iter()
            .take_while(|&&digit| digit == b'0')
            .count();
        let digits = &self.digits[zeros..];
        if digits.len() > 18 {
            return Err(HugeExponent);
        }
        let value = digits
            .iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        Ok(if self.negative { -value } else { value })
    }
}
