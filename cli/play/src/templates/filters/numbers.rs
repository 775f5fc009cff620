//! Filters for numbers.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::super::function_arguments::{kind, number, wrong};
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.engines("abs", minijinja::filters::abs);
    engine.plain("round", &["precision", "method"], |value, given| {
        let precision = given.whole("precision")?.unwrap_or(0);
        let precision = i32::try_from(precision).map_err(|_| wrong("`precision` is too large"))?;
        let method = given.text("method");
        let method = method.as_deref().unwrap_or("common");
        let rounded = round(number(value)?, precision, method)?;
        // An integer stays an integer.
        if method == "common" && value.is_integer() {
            return whole(number(&rounded)?);
        }
        Ok(rounded)
    });
    engine.plain("log", &["base"], |value, given| {
        let (number, base) = (
            positive_number(value)?,
            given.value("base").map(positive_number).transpose()?,
        );
        Ok(Value::from(match base {
            None => number.ln(),
            Some(10.0) => number.log10(),
            // Python divides the natural logarithms, which gives other last digits than a logarithm to the base.
            Some(base) => number.ln() / base.ln(),
        }))
    });
    engine.plain("pow", &["y"], |value, given| {
        Ok(Value::from(
            number(value)?.powf(number(given.needed("y")?)?),
        ))
    });
    engine.plain("root", &["base"], |value, given| {
        let number = number(value)?;
        let base = given
            .value("base")
            .map_or(Ok(2.0), super::super::function_arguments::number)?;
        let root = if (base - 2.0).abs() < f64::EPSILON {
            number.sqrt()
        } else {
            number.powf(1.0 / base)
        };
        if root.is_nan() {
            return Err(wrong("`root` of a negative number"));
        }
        Ok(Value::from(root))
    });
    engine.plain("human_readable", &["isbits", "unit"], |value, given| {
        let size = match value.kind() {
            ValueKind::Number | ValueKind::Bool => number(value)?,
            _ => {
                return Err(wrong(format!(
                    "`human_readable` takes a number, not {}",
                    kind(value)
                )));
            }
        };
        Ok(Value::from(readable(
            size,
            given.flag("isbits") == Some(true),
            given.text("unit").as_deref(),
        )))
    });
    engine.plain(
        "human_to_bytes",
        &["default_unit", "isbits"],
        |value, given| {
            bytes(
                &text_of(value),
                given.text("default_unit").as_deref(),
                given.flag("isbits") == Some(true),
            )
        },
    );
}

/// Returns a number of which a logarithm exists.
fn positive_number(value: &Value) -> Result<f64, minijinja::Error> {
    match number(value)? {
        number if number > 0.0 => Ok(number),
        _ => Err(wrong("`log` of a number that is not positive")),
    }
}

fn round(number: f64, precision: i32, method: &str) -> Result<Value, minijinja::Error> {
    let scale = 10_f64.powi(precision);
    let rounded = match method {
        // Python rounds the exact binary value of the number, and half to even.
        "common" if precision > 0 => {
            let digits = usize::try_from(precision).unwrap_or_default();
            return Ok(Value::from(
                format!("{number:.digits$}").parse().unwrap_or(number),
            ));
        }
        "common" => (number * scale).round_ties_even(),
        "ceil" => (number * scale).ceil(),
        "floor" => (number * scale).floor(),
        other => {
            return Err(wrong(format!(
                "unknown way to round `{other}`; use common, ceil or floor"
            )));
        }
    };
    Ok(Value::from(rounded / scale))
}

/// The letters of units, in ascending order. Each is 1024 times the one before it.
const UNITS: [char; 9] = ['B', 'K', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];

/// Returns how many bytes the unit at this index of [`UNITS`] stands for.
fn unit_size(at: usize) -> f64 {
    1024_f64.powi(i32::try_from(at).unwrap_or_default())
}

fn readable(size: f64, is_bits: bool, unit: Option<&str>) -> String {
    let asked = unit.and_then(|unit| {
        UNITS
            .iter()
            .position(|known| unit.eq_ignore_ascii_case(&known.to_string()))
    });
    let fitting = || {
        (0..UNITS.len())
            .rev()
            .find(|at| size >= unit_size(*at))
            .unwrap_or(0)
    };
    let at = match unit {
        Some(_) => asked.unwrap_or(0),
        None => fitting(),
    };
    let base = if is_bits { "bits" } else { "Bytes" };
    let number = size / unit_size(at);
    match at {
        0 => format!("{number:.2} {base}"),
        _ => format!("{number:.2} {}{}", UNITS[at], &base[..1]),
    }
}

fn bytes(text: &str, default_unit: Option<&str>, is_bits: bool) -> Result<Value, minijinja::Error> {
    let text = text.trim();
    let refused = || wrong(format!("`{text}` is not a size such as `10 MB`"));
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (digits, unit) = text.split_at(digits.unwrap_or(text.len()));
    let size: f64 = digits.parse().map_err(|_| refused())?;
    let unit = unit.trim();
    let unit = if unit.is_empty() {
        default_unit.unwrap_or_default()
    } else {
        unit
    };
    if unit.is_empty() {
        return whole(size);
    }
    let letter = unit
        .chars()
        .next()
        .map(|letter| letter.to_ascii_uppercase());
    let at = UNITS
        .iter()
        .position(|known| Some(*known) == letter)
        .ok_or_else(refused)?;
    let (names, small): (&[&str], char) = if is_bits {
        (&["bit"], 'b')
    } else {
        (&["byte"], 'B')
    };
    let is_known = match unit.len() {
        1 => true,
        _ if at == 0 => names.contains(&unit.to_lowercase().as_str()),
        2 => unit.ends_with(small),
        _ => LONG_UNITS[at - 1].iter().any(|long| {
            names
                .iter()
                .any(|name| unit.to_lowercase() == format!("{long}{name}"))
        }),
    };
    if is_known {
        whole(size * unit_size(at))
    } else {
        Err(refused())
    }
}

/// The long names of the units above bytes.
const LONG_UNITS: [&[&str]; 8] = [
    &["kilo"],
    &["mega"],
    &["giga"],
    &["tera"],
    &["peta"],
    &["exa"],
    &["zetta"],
    &["yotta"],
];

#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is within the range of the integer"
)]
fn whole(number: f64) -> Result<Value, minijinja::Error> {
    if number.abs() < 1.7e38 {
        return Ok(Value::from(number.round_ties_even() as i128));
    }
    Err(wrong("the number is too large"))
}
