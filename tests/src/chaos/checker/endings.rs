//! Checks how jobs ended: each one ends, at most once in a life, and never again after a success.

use std::collections::HashMap;

use super::super::notes::Fact;
use super::super::plan::Performer;
use super::attempts::{Attempt, End};
use super::{Ending, Evidence, Report, Rule};

/// Checks the outcomes of all jobs against what the workers noted.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let mut jobs: Vec<Job<'_>> = Vec::new();
    jobs.resize_with(evidence.specs.len(), Job::default);
    for attempt in attempts {
        if let Some(job) = jobs.get_mut(attempt.job as usize) {
            job.attempts.push(attempt);
        }
    }
    for ending in &evidence.journal {
        match jobs.get_mut(ending.job as usize) {
            Some(job) => job.endings.push(ending),
            None => report.add(Rule::Ended, format!("nobody asked for job {}", ending.job)),
        }
    }
    for ((number, job), spec) in jobs.iter().enumerate().zip(&evidence.specs) {
        job.check(number, evidence.declared.crashes, report);
        job.check_failures(number, spec.performer, report);
        job.check_answers(report);
    }
    report.figures.recorded = evidence.journal.len();
    heard(evidence, report);
    held(evidence, report);
}

impl Ending {
    /// Whether it is a success with the result of this attempt.
    fn is_success_of(&self, attempt: &Attempt) -> bool {
        let start = self.result.as_ref().map(|success| success.start);
        (self.life, start) == (attempt.life, Ok(attempt.start))
    }
}

/// The attempts and the endings of a job.
#[derive(Debug, Default)]
struct Job<'a> {
    attempts: Vec<&'a Attempt>,
    endings: Vec<&'a Ending>,
}

impl Job<'_> {
    /// Checks all endings of a job against its attempts.
    fn check(&self, number: usize, crashes: u32, report: &mut Report) {
        let Some(last) = self.endings.last() else {
            return report.add(Rule::Ended, format!("job {number} has no outcome"));
        };
        report.figures.succeeded += usize::from(last.result.is_ok());
        for pair in self.endings.windows(2) {
            let [earlier, later] = pair else { continue };
            if earlier.life == later.life {
                let life = later.life;
                report.add(
                    Rule::Ended,
                    format!("job {number} ended twice in life {life}"),
                );
            }
            if earlier.result.is_ok() {
                let text = format!("job {number} was done again after its success: {later:?}");
                report.add(Rule::Again, text);
            }
        }
        for ending in &self.endings {
            self.check_result(ending, report);
        }
        self.count_crashes(number, crashes, report);
        let won = |attempt: &&&Attempt| {
            let is_its = |ending: &&Ending| ending.is_success_of(attempt);
            self.endings.iter().any(is_its)
        };
        let done = self
            .attempts
            .iter()
            .filter(|attempt| attempt.end == End::Done);
        report.figures.in_vain += done.filter(|attempt| !won(attempt)).count();
    }

    /// Checks that a success has the result of an attempt, and that no attempt began after it.
    fn check_result(&self, ending: &Ending, report: &mut Report) {
        let life = |attempt: &&&Attempt| attempt.life == ending.life;
        let beyond = |attempt: &&&Attempt| attempt.number > ending.attempts;
        if let Some(attempt) = self.attempts.iter().filter(life).find(beyond) {
            report.add(
                Rule::Result,
                format!("{attempt} is not among those of {ending:?}"),
            );
        }
        // A cached result may come from another job, and from an attempt that does not know its job; see `cached.rs`.
        let Ok(success) = &ending.result else { return };
        if success.cached || self.attempts.is_empty() && success.computed.is_some() {
            return;
        }
        let mut mine = self.attempts.iter().filter(life);
        let winner = mine.find(|attempt| attempt.start == success.start);
        let is_his = |attempt: &&&Attempt| {
            // An attempt of a command that was killed before it could note its start is missing in the count.
            let is_number = if attempt.spec.performer.is_command() {
                attempt.number <= ending.attempts
            } else {
                attempt.number == ending.attempts
            };
            attempt.end == End::Done && is_number
        };
        let Some(winner) = winner.filter(is_his) else {
            return report.add(Rule::Result, format!("no attempt has done so: {ending:?}"));
        };
        let later = self
            .attempts
            .iter()
            .find(|other| other.start > winner.start);
        if let Some(later) = later {
            report.add(
                Rule::Again,
                format!("{later} came after the success of {winner}"),
            );
        }
    }

    /// Checks that a job failed because of attempts that began and failed.
    fn check_failures(&self, number: usize, performer: Performer, report: &mut Report) {
        for ending in &self.endings {
            let Err(why) = &ending.result else { continue };
            let failed = self.attempts.iter().filter(|attempt| {
                attempt.life == ending.life && !(attempt.end == End::Done && attempt.is_in_time())
            });
            let failed = failed.count();
            // Scripted commands never fail.
            let is_to_fail = performer != Performer::ScriptedCommand && ending.attempts > 0;
            if !is_to_fail || failed < ending.attempts as usize {
                let (life, attempts) = (ending.life, ending.attempts);
                report.add(
                    Rule::Failed,
                    format!("job {number} failed in life {life} after {attempts} attempts, of which {failed} failed: {why}"),
                );
            }
        }
    }

    /// Checks that an answer that came in time is the job's result, unless the host was killed before it could record it.
    fn check_answers(&self, report: &mut Report) {
        let in_time = self.attempts.iter().filter(|attempt| attempt.is_in_time());
        for attempt in in_time {
            let mut endings = self.endings.iter();
            let ending = endings.find(|ending| ending.life == attempt.life);
            let is_late = match ending {
                Some(ending) => !ending.is_success_of(attempt),
                None => self
                    .attempts
                    .iter()
                    .any(|other| other.life == attempt.life && other.number > attempt.number),
            };
            if is_late {
                let answered = attempt.answered.unwrap_or_default();
                report.add(
                    Rule::Late,
                    format!(
                        "{attempt} was answered at {answered}, in time, and in vain: {ending:?}"
                    ),
                );
            }
        }
    }

    /// Checks that the job killed no more workers in a life than allowed.
    fn count_crashes(&self, number: usize, most: u32, report: &mut Report) {
        let mut crashes: HashMap<u32, u32> = HashMap::new();
        for attempt in self
            .attempts
            .iter()
            .filter(|attempt| attempt.end == End::Died)
        {
            *crashes.entry(attempt.life).or_default() += 1;
        }
        for (life, crashes) in crashes.into_iter().filter(|(_, crashes)| *crashes > most) {
            let text = format!("job {number} took {crashes} workers with it in life {life}");
            report.add(Rule::Poison, text);
        }
    }
}

/// Checks that each outcome that a host heard of is in the journal, and that it heard of it once.
fn heard(evidence: &Evidence, report: &mut Report) {
    let mut recorded: HashMap<(u32, u32), (bool, u32)> = HashMap::new();
    let mut last_life = 0;
    for ending in &evidence.journal {
        recorded.insert((ending.life, ending.job), (ending.result.is_ok(), 0));
        last_life = last_life.max(ending.life);
    }
    for note in &evidence.host_notes {
        let Fact::Hears(job, success) = note.fact else {
            continue;
        };
        let life = note.life;
        match recorded.get_mut(&(life, job)) {
            Some((succeeded, times)) if *succeeded == (success == 1) => *times += 1,
            Some(_) => report.add(
                Rule::Heard,
                format!("job {job}, life {life}: told otherwise"),
            ),
            None => report.add(Rule::Heard, format!("job {job}, life {life}: not recorded")),
        }
    }
    for ((life, job), (_, times)) in recorded {
        // A host that is killed may have recorded outcomes that it had no time to note.
        if times > 1 || (times == 0 && life == last_life) {
            report.add(
                Rule::Heard,
                format!("job {job}, life {life}: told {times} times"),
            );
        }
    }
}

/// Checks that a host holds as many descriptors and children after its run as before it.
fn held(evidence: &Evidence, report: &mut Report) {
    let mut told = 0;
    for note in &evidence.host_notes {
        let (what, before, after) = match note.fact {
            Fact::Descriptors(before, after) => ("descriptors", before, after),
            Fact::Children(before, after) => ("children", before, after),
            _ => continue,
        };
        told += 1;
        if after > before {
            report.add(
                Rule::LeftBehind,
                format!("{before} {what} before the run, {after} after it"),
            );
        }
    }
    if told < 2 {
        report.add(
            Rule::LeftBehind,
            "no host says what it holds at its end".to_owned(),
        );
    }
}
