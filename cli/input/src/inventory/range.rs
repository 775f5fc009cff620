//! Ranges in the names of hosts, as in `web[01:20]` and `db[a:f:2].example`.

/// Expands the ranges in a name, or returns why the name is refused.
pub(super) fn expand(name: &str) -> Result<Vec<String>, String> {
    let Some((head, bounds, tail)) = first_range(name) else {
        return Ok(vec![name.to_owned()]);
    };
    let middles = members(bounds)?;
    let tails = expand(tail)?;
    let mut names = Vec::with_capacity(middles.len().saturating_mul(tails.len()).min(MAX_HOSTS));
    for middle in &middles {
        for tail in &tails {
            names.push(format!("{head}{middle}{tail}"));
        }
        if names.len() > MAX_HOSTS {
            return Err(format!("it stands for more than {MAX_HOSTS} hosts"));
        }
    }
    Ok(names)
}

/// The maximum number of hosts to which one name may expand. A few characters can expand to billions.
const MAX_HOSTS: usize = 100_000;

/// Returns the text before the first range, in it and after it.
fn first_range(name: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = name.split_once('[')?;
    let (bounds, tail) = rest.split_once(']')?;
    bounds.contains(':').then_some((head, bounds, tail))
}

/// Returns the members of a range of numbers or letters.
fn members(bounds: &str) -> Result<Vec<String>, String> {
    let mut parts = bounds.split(':');
    let first = parts
        .next()
        .filter(|first| !first.is_empty())
        .unwrap_or("0");
    let last = parts.next().unwrap_or_default();
    let step = parts.next();
    if last.is_empty() {
        return Err(format!("the range `[{bounds}]` has no end"));
    }
    let step: usize = match step.map(str::parse) {
        None => 1,
        Some(Ok(step)) if step > 0 => step,
        Some(_) => {
            return Err(format!(
                "the step of the range `[{bounds}]` is not a number above 0"
            ));
        }
    };
    if parts.next().is_some() {
        return Err(format!(
            "the range `[{bounds}]` has more parts than a first, a last and a step"
        ));
    }
    if let (Some(first), Some(last)) = (letter(first), letter(last)) {
        if first > last {
            return Err(format!("the range `[{bounds}]` ends before it begins"));
        }
        let letters = LETTERS[first..=last].iter().step_by(step);
        return Ok(letters
            .map(|letter| char::from(*letter).to_string())
            .collect());
    }
    let number = |text: &str| {
        text.parse::<usize>().map_err(|_| {
            format!("the range `[{bounds}]` has ends that are neither numbers nor letters")
        })
    };
    let (from, to) = (number(first)?, number(last)?);
    // If the first number has leading zeros, its width is that of all numbers.
    let is_padded = first.len() > 1 && first.starts_with('0');
    if is_padded && first.len() != last.len() {
        return Err(format!(
            "the two ends of the range `[{bounds}]` have different lengths"
        ));
    }
    if from > to {
        return Err(format!("the range `[{bounds}]` ends before it begins"));
    }
    if (to - from) / step >= MAX_HOSTS {
        return Err(format!("it stands for more than {MAX_HOSTS} hosts"));
    }
    let width = if is_padded { first.len() } else { 0 };
    let numbers = (from..=to).step_by(step);
    Ok(numbers.map(|number| format!("{number:0width$}")).collect())
}

/// All letters in the order of ranges.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Returns the index of a single letter among all of them.
fn letter(text: &str) -> Option<usize> {
    let [byte] = text.as_bytes() else {
        return None;
    };
    LETTERS.iter().position(|letter| letter == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_for_their_members_in_order() {
        for (name, expected) in [
            ("plain", "plain"),
            ("web[1:3]", "web1 web2 web3"),
            ("web[08:10].ex", "web08.ex web09.ex web10.ex"),
            ("w[:2]", "w0 w1 w2"),
            ("w[0:6:3]", "w0 w3 w6"),
            ("db[a:c]", "dba dbb dbc"),
            ("db[y:B]", "dby dbz dbA dbB"),
            ("r[1:2]n[a:b]", "r1na r1nb r2na r2nb"),
        ] {
            assert_eq!(
                expand(name).map(|names| names.join(" ")),
                Ok(expected.to_owned())
            );
        }
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for (name, said) in [
            ("w[1:]", "has no end"),
            ("w[3:1]", "ends before it begins"),
            ("w[c:a]", "ends before it begins"),
            ("w[01:100]", "have different lengths"),
            ("w[1:b]", "neither numbers nor letters"),
            ("w[1:9:0]", "not a number above 0"),
            ("w[1:9:1:1]", "more parts than a first"),
            ("w[0:9999999999]", "more than 100000 hosts"),
            ("w[0:999][0:999]", "more than 100000 hosts"),
        ] {
            let refused = expand(name).unwrap_err();
            assert!(refused.contains(said), "{name}: {refused}");
        }
    }
}
