//! Patterns that match jobs, and the selection of the jobs of a file.

use std::fmt;
use std::str::FromStr;

use ratchet_runtime::Job;

/// A pattern that matches jobs: `db*` or `test(db*)` by their ids, `group(slow)` by their groups, `task(resize)` by their
/// tasks or programs. `*` stands for any text, and `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobPattern {
    subject: Subject,
    glob: String,
}

/// The property of a job with which a pattern is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Id,
    Group,
    Task,
}

impl FromStr for JobPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let call = text
            .strip_suffix(')')
            .and_then(|inner| inner.split_once('('));
        let (subject, glob) = match call {
            None => (Subject::Id, text),
            Some(("test" | "id" | "job", glob)) => (Subject::Id, glob),
            Some(("group", glob)) => (Subject::Group, glob),
            Some(("task", glob)) => (Subject::Task, glob),
            Some((other, _)) => {
                return Err(format!(
                    "`{other}(..)` is not known; write test(..), group(..) or task(..)"
                ));
            }
        };
        if glob.is_empty() {
            return Err("the pattern is empty; `*` matches every job".to_owned());
        }
        Ok(Self {
            subject,
            glob: glob.to_owned(),
        })
    }
}

impl JobPattern {
    /// Whether the pattern matches a job, which is in this group.
    pub(crate) fn matches(&self, job: &Job, group: Option<&str>) -> bool {
        let text = match self.subject {
            Subject::Id => job.id.as_str(),
            Subject::Group => match group {
                Some(group) => group,
                None => return false,
            },
            Subject::Task => job.task_name(),
        };
        is_glob_of(self.glob.as_bytes(), text.as_bytes())
    }

    /// Whether the pattern matches a job of a selection, or the section that has made it.
    fn selects(&self, job: &Job, names: &SelectableNames<'_>) -> bool {
        let of_section = |section: &str| is_glob_of(self.glob.as_bytes(), section.as_bytes());
        self.matches(job, names.group)
            || (self.subject == Subject::Id && names.section.is_some_and(of_section))
    }
}

impl fmt::Display for JobPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Id => out.write_str(&self.glob),
            Subject::Group => write!(out, "group({})", self.glob),
            Subject::Task => write!(out, "task({})", self.glob),
        }
    }
}

/// What is known of a job besides the job itself when jobs are selected.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SelectableNames<'a> {
    /// The group of the job.
    pub(super) group: Option<&'a str>,
    /// The id of the section with `for_each` or `matrix` that has made the job.
    pub(super) section: Option<&'a str>,
    /// Whether the job is a setup script.
    pub(super) is_setup: bool,
}

/// A pattern of the names of groups, in which `*` stands for any text and `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupPattern(String);

impl FromStr for GroupPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the pattern is empty; `*` matches every group".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl GroupPattern {
    /// Returns the pattern as it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches a group.
    pub(super) fn matches(&self, group: &str) -> bool {
        is_glob_of(self.0.as_bytes(), group.as_bytes())
    }
}

/// Whether a pattern matches a whole text. It takes at most a time proportional to the product of their lengths.
fn is_glob_of(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // The position of the last `*`, and the position in the text up to which it matches. If what follows does not
    // match, the `*` takes one more character.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(b'?') => {
                at += 1;
                in_text = next_character(text, in_text);
            }
            Some(byte) if *byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                at = after + 1;
                in_text = next_character(text, from);
                star = Some((after, in_text));
            }
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// Returns the position of the next character of a UTF-8 text.
fn next_character(text: &[u8], at: usize) -> usize {
    let rest = text.iter().skip(at + 1);
    at + 1 + rest.take_while(|byte| **byte & 0xC0 == 0x80).count()
}

/// One of several equal parts of the jobs of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    by: PartitionRule,
    /// The number of the part, from 1 on.
    part: u64,
    /// How many parts there are.
    parts: u64,
}

/// How jobs are divided into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartitionRule {
    /// The jobs are dealt to the parts in turn.
    Slice,
    /// The id of a job decides its part, whatever other jobs there are.
    Hash,
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a part; write slice:1/4 or hash:1/4");
        let (by, numbers) = text.split_once(':').ok_or_else(wrong)?;
        let by = match by {
            "slice" | "count" => PartitionRule::Slice,
            "hash" => PartitionRule::Hash,
            _ => return Err(wrong()),
        };
        let (part, parts) = numbers.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (part, parts) = (number(part)?, number(parts)?);
        if part == 0 || part > parts {
            return Err(format!(
                "there is no part {part} of {parts}; the first one is 1"
            ));
        }
        Ok(Self { by, part, parts })
    }
}

impl Partition {
    /// Whether the part contains the job at this position of the file.
    fn has(&self, position: u64, id: &str) -> bool {
        let number = match self.by {
            PartitionRule::Slice => position,
            PartitionRule::Hash => hash(id),
        };
        number % self.parts == self.part - 1
    }
}

/// Returns the hash FNV-1a, which is the same on every machine and in every version of ratchet.
fn hash(text: &str) -> u64 {
    let start: u64 = 0xcbf2_9ce4_8422_2325;
    text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Which jobs of a file are run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// A job has to match one of these patterns, if there are any.
    pub(crate) only: Vec<JobPattern>,
    /// A job must not match any of these patterns.
    pub(crate) skip: Vec<JobPattern>,
    /// The part of the remaining jobs that is run.
    pub(crate) partition: Option<Partition>,
}

impl Selection {
    /// Whether all jobs are run.
    pub(crate) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Decides which jobs are run: the selected ones and those that they need, but not those that need a skipped one.
    /// Setup scripts run only if others need them. `order` has each job after its needs.
    pub(super) fn choose(
        &self,
        jobs: &[Job],
        names: &[SelectableNames<'_>],
        order: &[usize],
    ) -> Vec<bool> {
        use std::collections::HashMap;
        let ids: HashMap<&str, usize> = jobs
            .iter()
            .enumerate()
            .map(|(at, job)| (job.id.as_str(), at))
            .collect();
        let needs = |at: usize| {
            let needs = jobs[at].needs.iter();
            needs.filter_map(|need| ids.get(need.as_str()).copied())
        };
        let any = |patterns: &[JobPattern], at: usize| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| pattern.selects(&jobs[at], &names[at]))
        };
        let mut skipped = vec![false; jobs.len()];
        for &at in order {
            skipped[at] = any(&self.skip, at) || needs(at).any(|need| skipped[need]);
        }
        let mut position = 0;
        let mut chosen = vec![false; jobs.len()];
        for at in 0..jobs.len() {
            if skipped[at] || names[at].is_setup || (!self.only.is_empty() && !any(&self.only, at))
            {
                continue;
            }
            let partition = self.partition;
            chosen[at] = partition.is_none_or(|part| part.has(position, jobs[at].id.as_str()));
            position += 1;
        }
        for &at in order.iter().rev() {
            if chosen[at] {
                for need in needs(at) {
                    chosen[need] = true;
                }
            }
        }
        chosen
    }

    /// Returns the first option whose pattern matches no job, as it would be typed.
    pub(super) fn unmatched(&self, jobs: &[Job], names: &[SelectableNames<'_>]) -> Option<String> {
        let only = self.only.iter().map(|pattern| ("--only", pattern));
        let skip = self.skip.iter().map(|pattern| ("--skip", pattern));
        let is_unmatched = |pattern: &JobPattern| {
            let mut jobs = jobs.iter().zip(names);
            !jobs.any(|(job, names)| pattern.selects(job, names))
        };
        let mut options = only.chain(skip);
        let (flag, pattern) = options.find(|(_, pattern)| is_unmatched(pattern))?;
        Some(format!("{flag} {pattern}"))
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::Payload;

    use super::*;

    fn job(id: &str, needs: &[&str]) -> Job {
        Job::task(id, "resize", Payload::null()).needs(needs.iter().copied())
    }

    /// Returns which of these jobs, each of a group of its own name, are run.
    fn chosen(only: &[&str], skip: &[&str], partition: Option<&str>) -> Vec<&'static str> {
        let jobs = [
            job("db-1", &[]),
            job("db-2", &["base"]),
            job("base", &[]),
            job("web", &["db-2"]),
        ];
        let pattern = |text: &&str| text.parse().unwrap();
        let selection = Selection {
            only: only.iter().map(pattern).collect(),
            skip: skip.iter().map(pattern).collect(),
            partition: partition.map(|text| text.parse().unwrap()),
        };
        let groups = [Some("data"), Some("data"), None, Some("web")];
        let names = groups.map(|group| SelectableNames {
            group,
            ..SelectableNames::default()
        });
        let run = selection.choose(&jobs, &names, &[0, 2, 1, 3]);
        let names = ["db-1", "db-2", "base", "web"];
        names
            .into_iter()
            .zip(run)
            .filter_map(|(name, run)| run.then_some(name))
            .collect()
    }

    #[test]
    fn what_is_chosen_runs_with_its_needs_and_what_is_skipped_takes_its_dependents_along() {
        assert_eq!(chosen(&[], &[], None), ["db-1", "db-2", "base", "web"]);
        assert_eq!(chosen(&["web"], &[], None), ["db-2", "base", "web"]);
        assert_eq!(chosen(&["test(db-?)"], &[], None), ["db-1", "db-2", "base"]);
        assert_eq!(chosen(&["group(data)"], &["*-2"], None), ["db-1"]);
        assert_eq!(chosen(&[], &["base"], None), ["db-1"]);
        assert_eq!(
            chosen(&["task(res*e)"], &["group(w*)"], None),
            ["db-1", "db-2", "base"]
        );
        assert_eq!(chosen(&[], &["web"], Some("slice:1/3")), ["db-1"]);
        assert_eq!(chosen(&[], &["web"], Some("slice:2/3")), ["db-2", "base"]);
    }

    #[test]
    fn the_id_of_a_section_selects_all_its_jobs_and_a_pattern_that_matches_none_is_told() {
        let jobs = [job("f-1", &[]), job("f-2", &[]), job("f-g", &[])];
        let names = [Some("f"), Some("f"), None].map(|section| SelectableNames {
            section,
            ..SelectableNames::default()
        });
        let skipping = |patterns: &[&str]| Selection {
            skip: patterns.iter().map(|text| text.parse().unwrap()).collect(),
            ..Selection::default()
        };
        let skip = skipping(&["f"]);
        assert_eq!(skip.choose(&jobs, &names, &[0, 1, 2]), [false, false, true]);
        assert_eq!(skip.unmatched(&jobs, &names), None);
        // The id of a section is no task and no group.
        for (pattern, told) in [
            ("group(f)", "--skip group(f)"),
            ("task(f)", "--skip task(f)"),
            ("test(typo)", "--skip typo"),
        ] {
            let unmatched = skipping(&["f-1", pattern]).unmatched(&jobs, &names);
            assert_eq!(unmatched.as_deref(), Some(told));
        }
    }

    #[test]
    fn wrong_patterns_and_parts_are_refused() {
        for wrong in ["", "test()", "tset(db*)"] {
            assert!(wrong.parse::<JobPattern>().is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "1/4",
            "slice:0/4",
            "slice:5/4",
            "slice:1/0",
            "slice:a/4",
            "mod:1/4",
        ] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_job_is_in_exactly_one_part() {
        let ids: Vec<String> = (0..50).map(|number| format!("job-{number}")).collect();
        for (by, parts) in [("slice", 3), ("hash", 3), ("hash", 1), ("slice", 60)] {
            for (position, id) in (0..).zip(&ids) {
                let parts = (1..=parts).filter(|part| {
                    let part: Partition = format!("{by}:{part}/{parts}").parse().unwrap();
                    part.has(position, id)
                });
                assert_eq!(parts.count(), 1, "{by} {id}");
            }
        }
    }

    /// Returns the same, slow and obviously right.
    fn matches_slowly(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', after)), rest) => {
                matches_slowly(after, text)
                    || rest.is_some_and(|(_, rest)| matches_slowly(glob, rest))
            }
            (Some(('?', after)), Some((_, rest))) => matches_slowly(after, rest),
            (Some((one, after)), Some((other, rest))) => {
                one == other && matches_slowly(after, rest)
            }
            (Some(_), None) => false,
        }
    }

    /// Returns all texts of these letters, up to this length.
    fn texts(letters: &str, longest: usize) -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut from = 0;
        for _ in 0..longest {
            let longer: Vec<String> = texts[from..]
                .iter()
                .flat_map(|text| letters.chars().map(move |letter| format!("{text}{letter}")))
                .collect();
            from = texts.len();
            texts.extend(longer);
        }
        texts
    }

    #[test]
    fn a_glob_matches_as_each_of_its_characters_says() {
        for glob in texts("aä*?", 4) {
            let chars: Vec<char> = glob.chars().collect();
            for text in texts("aäb", 4) {
                let of_text: Vec<char> = text.chars().collect();
                assert_eq!(
                    is_glob_of(glob.as_bytes(), text.as_bytes()),
                    matches_slowly(&chars, &of_text),
                    "{glob} {text}"
                );
            }
        }
    }
}
