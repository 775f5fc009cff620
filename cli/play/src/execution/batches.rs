//! The order of the hosts of a play, and their batches.

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::templates::text_of;

/// Sorts hosts by the keyword `order`.
pub(super) fn order(hosts: &mut [String], order: Option<&str>) {
    match order {
        Some("sorted") => hosts.sort_unstable(),
        Some("reverse_sorted") => {
            hosts.sort_unstable();
            hosts.reverse();
        }
        Some("reverse_inventory") => hosts.reverse(),
        Some("shuffle") => shuffle(hosts),
        _ => {}
    }
}

/// Shuffles hosts with a random seed.
fn shuffle(hosts: &mut [String]) {
    use std::hash::BuildHasher as _;
    let seed = std::hash::RandomState::new();
    hosts.sort_by_cached_key(|name| seed.hash_one(name));
}

/// Returns the sizes of batches: a number, a percentage, or a list of these. The last size repeats for all later
/// batches.
pub(super) fn sizes(value: &Value, hosts: usize) -> Result<Vec<usize>, String> {
    let members: Vec<Value> = match value.kind() {
        ValueKind::Seq => value.try_iter().into_iter().flatten().collect(),
        _ => vec![value.clone()],
    };
    let sizes = members.iter().map(|member| size(member, hosts));
    let sizes: Vec<usize> = sizes.collect::<Result<_, _>>()?;
    Ok(if sizes.is_empty() { vec![hosts] } else { sizes })
}

/// Returns the size of one batch from a number or a percentage.
fn size(value: &Value, hosts: usize) -> Result<usize, String> {
    let text = text_of(value);
    let text = text.trim();
    let refused = || format!("`{text}` is neither a number of hosts nor a percentage");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| refused())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(refused());
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of at most 100 % of a count is within its range"
        )]
        let share = (hosts as f64 * percent / 100.0) as usize;
        return Ok(share.max(1));
    }
    let count: i64 = text.parse().map_err(|_| refused())?;
    // Zero or less means a single batch.
    Ok(usize::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .unwrap_or(hosts))
}

/// Reads a number, also from a text, which may have a percent sign.
pub(super) fn number(value: &Value) -> Option<f64> {
    text_of(value)
        .trim()
        .trim_end_matches('%')
        .trim()
        .parse()
        .ok()
}

/// Splits hosts into batches of these sizes.
pub(super) fn split(hosts: &[String], sizes: &[usize]) -> Vec<Vec<String>> {
    let mut batches = Vec::new();
    let mut rest = hosts;
    let mut sizes = sizes.iter();
    let mut size = hosts.len();
    while !rest.is_empty() {
        size = sizes.next().copied().unwrap_or(size).max(1);
        let (batch, behind) = rest.split_at(size.min(rest.len()));
        batches.push(batch.to_vec());
        rest = behind;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("h{number}")).collect()
    }

    #[test]
    fn the_last_size_is_that_of_all_batches_that_follow() {
        let hosts = names(7);
        let lengths = |value: Value| -> Vec<usize> {
            let sizes = sizes(&value, hosts.len()).unwrap();
            split(&hosts, &sizes).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(Value::from(3)), [3, 3, 1]);
        assert_eq!(lengths(Value::from("30%")), [2, 2, 2, 1]);
        assert_eq!(
            lengths(Value::from(vec![Value::from(1), Value::from("50%")])),
            [1, 3, 3]
        );
        assert_eq!(lengths(Value::from(0)), [7]);
        assert_eq!(lengths(Value::from("1%")), [1; 7]);
    }

    #[test]
    fn a_size_that_is_no_number_is_refused() {
        for wrong in ["many", "150%", "-5%"] {
            assert!(sizes(&Value::from(wrong), 3).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_are_put_in_the_order_that_is_asked_for() {
        let ordered = |word: Option<&str>| {
            let mut hosts: Vec<String> = ["b", "c", "a"].map(str::to_owned).to_vec();
            order(&mut hosts, word);
            hosts.concat()
        };
        assert_eq!(ordered(None), "bca");
        assert_eq!(ordered(Some("sorted")), "abc");
        assert_eq!(ordered(Some("reverse_sorted")), "cba");
        assert_eq!(ordered(Some("reverse_inventory")), "acb");
        let mut shuffled: Vec<_> = ordered(Some("shuffle")).chars().collect();
        shuffled.sort_unstable();
        assert_eq!(shuffled, ['a', 'b', 'c']);
    }
}
