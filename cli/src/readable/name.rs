//! Formats the names of jobs.

use ratchet_runtime::{ItemName, JobKey, Outcome};

use crate::escape::plain;

/// How many characters of an item are shown.
const LONGEST_ITEM: usize = 60;

/// Returns the id of a job, with its item if it has one, as in `17 (a.png)`.
pub(crate) fn job_name(id: &JobKey, item: Option<&ItemName>) -> String {
    let id = plain(id.as_str()).into_owned();
    match item {
        Some(item) if item.as_str() != id => {
            // The item is shortened before it is escaped, so that no escape is cut in two.
            let item = item.shortened(LONGEST_ITEM);
            format!("{id} ({})", plain(&item))
        }
        _ => id,
    }
}

/// Returns the name of the job of an outcome.
pub(crate) fn name_of(outcome: &Outcome) -> String {
    job_name(&outcome.id, outcome.item.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_list_is_called_by_its_number_and_its_item() {
        let name = |item: &str| job_name(&"17".into(), Some(&ItemName::new(item)));
        assert_eq!(name("a.png"), "17 (a.png)");
        assert_eq!(name("17"), "17");
        assert_eq!(name("a\n\u{202e}b"), "17 (a\\n\\u{202e}b)");
        assert_eq!(name(&"x".repeat(100)).chars().count(), 65);
        assert_eq!(job_name(&"build".into(), None), "build");
    }
}
