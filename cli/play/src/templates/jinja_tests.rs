//! The tests of Ansible and of Python's Jinja, which follow `is`.

mod files;
mod results;
mod versions;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::function_arguments::{FunctionArguments, iterated, kind, number, wrong};
use super::names::NamedFunctions;
use super::regex::{compiled, failed};
use super::undefined::is_undefined;
use super::values::text_of;

/// Adds the tests to an engine.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.test("defined", |value: &Value| !is_undefined(value));
    engine.test("undefined", |value: &Value| is_undefined(value));
    types(engine);
    comparisons(engine);
    engine.question("truthy", &["convert_bool"], |value, given| {
        Ok(is_truthy(value, given))
    });
    engine.question("falsy", &["convert_bool"], |value, given| {
        Ok(!is_truthy(value, given))
    });
    engine.question("contains", &["member"], |value, given| {
        holds(value, given.needed("member")?)
    });
    engine.question("in", &["list"], |value, given| {
        holds(given.needed("list")?, value)
    });
    for name in ["subset", "issubset"] {
        engine.question(name, &["other"], |value, given| {
            all_in(value, given.needed("other")?)
        });
    }
    for name in ["superset", "issuperset"] {
        engine.question(name, &["other"], |value, given| {
            all_in(given.needed("other")?, value)
        });
    }
    engine.question("all", &[], |value, _| {
        Ok(iterated(value)?.iter().all(Value::is_true))
    });
    engine.question("any", &[], |value, _| {
        Ok(iterated(value)?.iter().any(Value::is_true))
    });
    engine.question(
        "match",
        &["pattern", "ignorecase", "multiline"],
        |value, given| matches(value, given, "match"),
    );
    engine.question(
        "search",
        &["pattern", "ignorecase", "multiline"],
        |value, given| matches(value, given, "search"),
    );
    engine.question(
        "regex",
        &["pattern", "ignorecase", "multiline", "match_type"],
        |value, given| {
            matches(
                value,
                given,
                given.text("match_type").as_deref().unwrap_or("search"),
            )
        },
    );
    for name in ["nan", "isnan"] {
        engine.question(name, &[], |value, _| {
            Ok(number(value).is_ok_and(f64::is_nan))
        });
    }
    engine.question("uri", &["schemes"], |value, given| {
        is_uri(value, given, false)
    });
    engine.question("url", &["schemes"], |value, given| {
        is_uri(value, given, true)
    });
    engine.question("urn", &[], |value, _| {
        Ok(text_of(value).to_lowercase().starts_with("urn:"))
    });
    // Encrypted variables are decrypted before a template sees them, so only other texts can have this header.
    engine.question("vault_encrypted", &[], |value, _| {
        Ok(text_of(value).starts_with("$ANSIBLE_VAULT"))
    });
    engine.test("filter", |name: &Value| {
        let names = super::engine::names();
        names
            .0
            .contains(&super::source::without_builtin(&text_of(name)))
    });
    engine.test("test", |name: &Value| {
        let names = super::engine::names();
        names
            .1
            .contains(&super::source::without_builtin(&text_of(name)))
    });
    versions::add(engine);
    files::add(engine);
    results::add(engine);
}

impl NamedFunctions {
    /// Adds a test that takes its arguments by position or by name, and refuses undefined values.
    fn question(
        &mut self,
        name: &'static str,
        parameters: &'static [&'static str],
        question: impl Fn(&Value, &FunctionArguments) -> Result<bool, Error> + Send + Sync + 'static,
    ) {
        let with_arguments = move |value: Value, placed: Rest<Value>, named: Kwargs| {
            if value.is_undefined() {
                return Err(wrong("the value is undefined"));
            }
            let given = FunctionArguments::new(name, parameters, &placed, &named)?;
            question(&value, &given)
        };
        self.test(name, with_arguments);
    }
}

/// Returns the remainder of a division, which is not negative, or `None` if the divisor is 0. Whole numbers are divided
/// exactly.
#[expect(
    clippy::cast_precision_loss,
    reason = "a remainder of small divisors is exact, and of others only whether it is 0 counts"
)]
fn remainder(value: &Value, by: &Value) -> Result<Option<f64>, Error> {
    if value.is_integer()
        && by.is_integer()
        && let (Ok(value), Ok(by)) = (i128::try_from(value.clone()), i128::try_from(by.clone()))
    {
        return Ok((by != 0).then(|| value.checked_rem_euclid(by).unwrap_or(0) as f64));
    }
    let by = number(by)?;
    Ok((by != 0.0).then_some(number(value)?.rem_euclid(by)))
}

fn types(engine: &mut NamedFunctions) {
    engine.question("string", &[], |value, _| {
        Ok(value.kind() == ValueKind::String)
    });
    engine.question(
        "mapping",
        &[],
        |value, _| Ok(value.kind() == ValueKind::Map),
    );
    engine.question("sequence", &[], |value, _| {
        Ok(matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        ))
    });
    engine.question("iterable", &[], |value, _| {
        Ok(matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Iterable
        ))
    });
    engine.question("number", &[], |value, _| {
        Ok(matches!(value.kind(), ValueKind::Number | ValueKind::Bool))
    });
    engine.question("integer", &[], |value, _| {
        Ok(value.is_integer() && value.kind() == ValueKind::Number)
    });
    engine.question("float", &[], |value, _| {
        Ok(value.kind() == ValueKind::Number && !value.is_integer())
    });
    engine.question("boolean", &[], |value, _| {
        Ok(value.kind() == ValueKind::Bool)
    });
    engine.question("true", &[], |value, _| {
        Ok(value.kind() == ValueKind::Bool && value.is_true())
    });
    engine.question("false", &[], |value, _| {
        Ok(value.kind() == ValueKind::Bool && !value.is_true())
    });
    engine.question("none", &[], |value, _| Ok(value.is_none()));
    engine.question("callable", &[], |_, _| Ok(false));
    engine.question("escaped", &[], |_, _| Ok(false));
    engine.question("lower", &[], |value, _| {
        let text = text_of(value);
        Ok(text.to_lowercase() == text && text.chars().any(char::is_alphabetic))
    });
    engine.question("upper", &[], |value, _| {
        let text = text_of(value);
        Ok(text.to_uppercase() == text && text.chars().any(char::is_alphabetic))
    });
    engine.question("even", &[], |value, _| {
        Ok(remainder(value, &Value::from(2))? == Some(0.0))
    });
    engine.question("odd", &[], |value, _| {
        Ok(remainder(value, &Value::from(2))? == Some(1.0))
    });
    engine.question("divisibleby", &["num"], |value, given| {
        let remainder = remainder(value, given.needed("num")?)?;
        let remainder = remainder.ok_or_else(|| wrong("the divisor of `divisibleby` cannot be 0"));
        Ok(remainder? == 0.0)
    });
    engine.question("sameas", &["other"], |value, given| {
        let other = given.needed("other")?;
        // Values have no identity here, so equal values of equal type count as the same. An integer and a float always
        // differ.
        Ok(value.kind() == other.kind()
            && value.is_integer() == other.is_integer()
            && value == other)
    });
}

fn comparisons(engine: &mut NamedFunctions) {
    for name in ["eq", "equalto", "=="] {
        engine.question(name, &["other"], |value, given| {
            Ok(value == given.needed("other")?)
        });
    }
    for name in ["ne", "!="] {
        engine.question(name, &["other"], |value, given| {
            Ok(value != given.needed("other")?)
        });
    }
    for name in ["lt", "lessthan", "<"] {
        engine.question(name, &["other"], |value, given| {
            Ok(ordered(value, given)?.is_lt())
        });
    }
    for name in ["le", "<="] {
        engine.question(name, &["other"], |value, given| {
            Ok(ordered(value, given)?.is_le())
        });
    }
    for name in ["gt", "greaterthan", ">"] {
        engine.question(name, &["other"], |value, given| {
            Ok(ordered(value, given)?.is_gt())
        });
    }
    for name in ["ge", ">="] {
        engine.question(name, &["other"], |value, given| {
            Ok(ordered(value, given)?.is_ge())
        });
    }
}

fn ordered(value: &Value, given: &FunctionArguments) -> Result<std::cmp::Ordering, Error> {
    let other = given.needed("other")?;
    let class = |value: &Value| match value.kind() {
        ValueKind::Bool | ValueKind::Number => 1,
        ValueKind::String => 2,
        ValueKind::Seq | ValueKind::Iterable => 3,
        _ => 4,
    };
    match (class(value), class(other)) {
        (1, 1) => {
            let order = number(value)?.partial_cmp(&number(other)?);
            order.ok_or_else(|| wrong("a value that is not a number has no order"))
        }
        (one, two) if one == two && one < 4 => Ok(value.cmp(other)),
        _ => Err(wrong(format!(
            "{} and {} have no order",
            kind(value),
            kind(other)
        ))),
    }
}

fn is_truthy(value: &Value, given: &FunctionArguments) -> bool {
    if given.flag("convert_bool") == Some(true)
        && let Some(text) = value.as_str()
    {
        match text.to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => return true,
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => return false,
            _ => {}
        }
    }
    value.is_true()
}

fn holds(list: &Value, member: &Value) -> Result<bool, Error> {
    match (list.as_str(), member.as_str()) {
        (Some(text), Some(part)) => Ok(text.contains(part)),
        (Some(_), None) => Err(wrong(format!("a text holds texts, not {}", kind(member)))),
        (None, _) => Ok(iterated(list)?.contains(member)),
    }
}

fn all_in(one: &Value, other: &Value) -> Result<bool, Error> {
    let other = iterated(other)?;
    Ok(iterated(one)?.iter().all(|member| other.contains(member)))
}

fn matches(value: &Value, given: &FunctionArguments, how: &str) -> Result<bool, Error> {
    let pattern = given.text("pattern").unwrap_or_default();
    let pattern = match how {
        "match" => format!(r"\A(?:{pattern})"),
        "fullmatch" => format!(r"\A(?:{pattern})\z"),
        _ => pattern,
    };
    let ignores_case = given.flag("ignorecase") == Some(true);
    let regex = compiled(
        &pattern,
        ignores_case,
        given.flag("multiline") == Some(true),
    )?;
    match value.as_str() {
        Some(text) => regex.is_match(text).map_err(failed),
        None => regex.is_match(&text_of(value)).map_err(failed),
    }
}

/// Whether a text is a URI with a scheme, and with a host if that is required.
fn is_uri(value: &Value, given: &FunctionArguments, needs_host: bool) -> Result<bool, Error> {
    let text = text_of(value);
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok(false);
    };
    let scheme = scheme.to_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character));
    let is_asked = match given.value("schemes").filter(|schemes| !schemes.is_none()) {
        Some(schemes) => holds(schemes, &Value::from(scheme.as_str()))?,
        None => true,
    };
    let host = rest
        .strip_prefix("//")
        .map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_local = scheme == "file" && host.is_some();
    let has_host = host.is_some_and(|host| !host.is_empty()) || is_local;
    Ok(is_scheme && is_asked && (!needs_host || has_host))
}
