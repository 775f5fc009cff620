//! Slurm's spellings of lists of nodes, of numbers for each node, and of times.

use std::time::Duration;

/// How many nodes a list may have. A few characters can mean billions.
const MAX_NODES: usize = 100_000;

/// Returns the names in a list of nodes, as in `login,n[01-03,7],rack[1-2]n[1-8]`.
pub(super) fn expand(list: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for word in split(list)? {
        let mut found = vec![String::new()];
        let mut rest = word;
        while let Some((head, tail)) = rest.split_once('[') {
            let Some((ranges, after)) = tail.split_once(']') else {
                return Err(format!("a bracket is not closed in `{word}`"));
            };
            let members = members(ranges)?;
            if names.len() + found.len() * members.len() > MAX_NODES {
                return Err(format!("`{word}` stands for more than {MAX_NODES} nodes"));
            }
            let longer = found.iter().flat_map(|before| {
                members
                    .iter()
                    .map(move |member| format!("{before}{head}{member}"))
            });
            found = longer.collect();
            rest = after;
        }
        for name in &mut found {
            name.push_str(rest);
        }
        names.append(&mut found);
    }
    let is_odd = |char: char| char.is_whitespace() || char.is_control() || char == ']';
    match names
        .iter()
        .find(|name| name.is_empty() || name.contains(is_odd) || name.starts_with(['-', '@']))
    {
        Some(odd) => Err(format!("{odd:?} is not the name of a node")),
        None => Ok(names),
    }
}

/// Splits a list at the commas that are not in brackets.
fn split(list: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    let (mut begin, mut is_inside) = (0, false);
    for (place, char) in list.char_indices() {
        match (char, is_inside) {
            ('[', true) => return Err("a bracket opens within another one".to_owned()),
            ('[', false) | (']', true) => is_inside = !is_inside,
            (',', false) => {
                words.push(&list[begin..place]);
                begin = place + 1;
            }
            _ => {}
        }
    }
    words.push(&list[begin..]);
    Ok(words)
}

/// Returns the members of ranges of numbers, as in `01-03,7`.
fn members(ranges: &str) -> Result<Vec<String>, String> {
    let mut members = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_number.then(|| text.parse::<usize>().ok()).flatten();
            number.ok_or_else(|| format!("`{range}` is not a range of numbers"))
        };
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(format!("the range `{range}` ends before it begins"));
        }
        if to - from >= MAX_NODES {
            return Err(format!(
                "the range `{range}` has more than {MAX_NODES} numbers"
            ));
        }
        // The first number sets the width of all of them.
        let width = first.len();
        members.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Ok(members)
}

/// Returns one number for each of this many nodes, as in `16(x2),8`.
pub(super) fn counts(text: &str, nodes: usize) -> Result<Vec<u32>, String> {
    let mut counts = Vec::new();
    for word in text.split(',') {
        let (count, times) = match word.split_once("(x") {
            None => (word, Some(1)),
            Some((count, times)) => {
                let times = times.strip_suffix(')');
                (count, times.and_then(|times| times.parse().ok()))
            }
        };
        let count = count.parse::<u32>().ok().filter(|count| *count > 0);
        let (Some(count), Some(times)) = (count, times) else {
            return Err(format!(
                "`{word}` is not a list of numbers for the nodes, such as 16(x2)"
            ));
        };
        if times > nodes - counts.len() {
            return Err(format!("there are more numbers than the {nodes} nodes"));
        }
        counts.extend(std::iter::repeat_n(count, times));
    }
    if counts.len() < nodes {
        return Err(format!(
            "there are numbers for {} of the {nodes} nodes",
            counts.len()
        ));
    }
    Ok(counts)
}

/// Parses the time that an allocation has left, as in `1-02:03:04` or `3:04`. The inner value is `None` if it has no
/// end. Returns `None` if this is not a time.
#[expect(
    clippy::option_option,
    reason = "no answer and an allocation without an end differ"
)]
pub(super) fn time_left(text: &str) -> Option<Option<Duration>> {
    if text == "UNLIMITED" {
        return Some(None);
    }
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let mut seconds = u64::from(days.parse::<u32>().ok()?);
    let parts: Vec<&str> = rest.split(':').collect();
    let hours_minutes_seconds = match parts[..] {
        [hours, minutes, seconds] => [hours, minutes, seconds],
        [minutes, seconds] => ["0", minutes, seconds],
        _ => return None,
    };
    for (part, unit) in hours_minutes_seconds.into_iter().zip([24, 60, 60]) {
        seconds = seconds * unit + u64::from(part.parse::<u32>().ok()?);
    }
    Some(Some(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_stands_for_the_names_that_scontrol_prints() {
        for (list, names) in [
            ("n1", &["n1"][..]),
            ("n[01-03,7],login", &["n01", "n02", "n03", "n7", "login"]),
            ("n[9-11]x", &["n9x", "n10x", "n11x"]),
            ("r[1-2]n[1-2]", &["r1n1", "r1n2", "r2n1", "r2n2"]),
        ] {
            assert_eq!(expand(list).unwrap(), names, "{list}");
        }
        for list in [
            "",
            ",",
            "n1,",
            "n[1",
            "n1]",
            "n[[1]]",
            "n[]",
            "n[a-b]",
            "n[3-1]",
            "n[1-+3]",
            "n[1-9999999]",
            "n[1-999]m[1-999]",
            "-w",
            "n 1",
        ] {
            assert!(expand(list).is_err(), "{list}");
        }
    }

    #[test]
    fn a_number_with_a_factor_counts_for_several_nodes() {
        assert_eq!(counts("16(x2),8", 3).unwrap(), [16, 16, 8]);
        assert_eq!(counts("4", 1).unwrap(), [4]);
        for (text, nodes) in [
            ("", 1),
            ("0", 1),
            ("4", 2),
            ("4(x2)", 1),
            ("4(x99999999999)", 2),
            ("4(x", 1),
        ] {
            assert!(counts(text, nodes).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_left_is_read_as_squeue_writes_it() {
        let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
        assert_eq!(time_left("3:04"), seconds(184));
        assert_eq!(time_left("1:00:00"), seconds(3600));
        assert_eq!(time_left("2-01:00:01"), seconds(49 * 3600 + 1));
        assert_eq!(time_left("UNLIMITED"), Some(None));
        for text in ["", "INVALID", "NOT_SET", "7", "1-", "a:b", "1:2:3:4"] {
            assert_eq!(time_left(text), None, "{text}");
        }
    }
}
