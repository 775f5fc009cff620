//! "Did you mean": the closest of the names that exist.

/// The name nearest to what was typed, if one is near enough to be meant.
pub(crate) fn closest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = typed.chars().count().div_ceil(3);
    names
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, name)| name.to_owned())
}

/// How many letters were added, left out, mistaken or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for line in 1..=left.len() {
        let mut next = vec![line];
        for column in 1..=right.len() {
            let differ = usize::from(left[line - 1] != right[column - 1]);
            let mut best = row[column - 1] + differ;
            best = best.min(row[column] + 1).min(next[column - 1] + 1);
            let swapped = line > 1
                && column > 1
                && left[line - 1] == right[column - 2]
                && left[line - 2] == right[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let names = ["resize", "count", "upload"];
        assert_eq!(closest("resise", names), Some("resize".to_owned()));
        assert_eq!(closest("cuont", names), Some("count".to_owned()));
        assert_eq!(closest("deploy", names), None);
        assert_eq!(closest("", names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("atp", "apt"), 1);
    }
}
