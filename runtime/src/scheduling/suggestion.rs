//! Suggestions ("did you mean"): the closest of the names that exist.

/// The greatest length of a text that is compared, in letters. A longer one is not a typing error, and comparing it
/// takes long.
const LONGEST: usize = 64;

/// Returns the name closest to what was typed, if it is close enough to be meant: at most a third of the letters are
/// added, left out, mistaken or swapped with their neighbour.
///
/// ```
/// use ratchet_runtime::closest;
///
/// assert_eq!(closest("resise", ["resize", "count"]), Some("resize"));
/// assert_eq!(closest("deploy", ["resize", "count"]), None);
/// ```
pub fn closest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = typed.chars().take(LONGEST + 1).count();
    if length > LONGEST {
        return None;
    }
    names
        .into_iter()
        .filter(|name| name.len() <= 4 * LONGEST)
        .map(|name| (strsim::osa_distance(typed, name), name))
        .filter(|(distance, name)| *distance <= length.div_ceil(3) && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let names = ["resize", "count", "upload"];
        assert_eq!(closest("resise", names), Some("resize"));
        assert_eq!(closest("cuont", names), Some("count"));
        assert_eq!(closest("deploy", names), None);
        assert_eq!(closest("", names), None);
        assert_eq!(closest("x", ["a"]), None);
        assert_eq!(closest(&"resize".repeat(1000), names), None);
    }
}
