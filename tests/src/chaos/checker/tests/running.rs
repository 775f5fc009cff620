//! Which attempts may run, and when.

use super::*;

#[test]
fn the_checker_finds_two_exclusive_jobs_on_one_host() {
    let host = spec(Claim::Host, &[]);
    let elsewhere = JobSpec { host: 2, ..host };
    let free = spec(Claim::Nothing, &[]);
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[host, host], &together), [Rule::Host]);
    assert_eq!(broken(&[host, host], &[[0, 5, 10], [0, 10, 12]]), []);
    assert_eq!(broken(&[host, elsewhere], &together), []);
    assert_eq!(broken(&[host, free], &together), []);
    // An attempt that ends in between hides none.
    let long = [[0, 1, 20], [0, 2, 3], [0, 19, 21]];
    assert_eq!(broken(&[host, elsewhere, host], &long), [Rule::Host]);
}

#[test]
fn the_checker_finds_a_second_global_job_and_an_exclusive_one_on_its_host() {
    let global = spec(Claim::Global, &[]);
    let elsewhere = JobSpec { host: 2, ..global };
    let host = spec(Claim::Host, &[]);
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[global, elsewhere], &together), [Rule::Global]);
    assert_eq!(broken(&[host, global], &together), [Rule::Host]);
    assert_eq!(broken(&[host, elsewhere], &together), []);
}

#[test]
fn the_checker_finds_a_job_beside_one_that_has_to_be_alone() {
    let (alone, free) = (spec(Claim::Alone, &[]), spec(Claim::Nothing, &[]));
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[alone, free], &together), [Rule::Alone]);
    assert_eq!(broken(&[free, alone], &together), [Rule::Alone]);
    assert_eq!(broken(&[free, alone], &[[0, 5, 10], [0, 11, 12]]), []);
}

#[test]
fn the_checker_takes_a_killed_attempt_to_last_until_its_last_sign_of_life() {
    let host = spec(Claim::Host, &[]);
    let mut evidence = evidence(&[host, host]);
    evidence.worker(7, 0, Fact::Born);
    evidence.worker(7, 1, Fact::Starts(0, 1));
    evidence.worker(7, 8, Fact::Beats(0, 1));
    evidence.ended(0, 1, None);
    evidence.attempt(1, [0, 8, 12]);
    assert_eq!(evidence.broken(), []);
    evidence.worker(7, 9, Fact::Beats(0, 1));
    assert_eq!(evidence.broken(), [Rule::Host]);
}

#[test]
fn the_checker_finds_a_window_with_more_starts_than_its_rate_allows() {
    let key = spec(Claim::Key(0), &[]);
    // The rate is ten per second. They were granted between 0 and 5 and between 90 and 101, so they can be 100 apart.
    assert_eq!(broken(&[key; 2], &[[0, 5, 6], [90, 101, 102]]), []);
    assert_eq!(broken(&[key; 2], &[[0, 5, 6], [90, 99, 102]]), [Rule::Rate]);
    // Only all three together are too many.
    let three = [[0, 1, 2], [50, 120, 121], [60, 190, 191]];
    assert_eq!(broken(&[key; 3], &three), [Rule::Rate]);
    // The starts of another key, and those without a key, are not counted.
    let free = spec(Claim::Nothing, &[]);
    assert_eq!(broken(&[key, free], &[[0, 5, 6], [90, 99, 102]]), []);
}

#[test]
fn the_checker_counts_a_start_under_a_rate_from_when_its_worker_has_loaded() {
    let key = spec(Claim::Key(0), &[]);
    let loaded_until = |ready: [u64; 2]| {
        let mut evidence = evidence(&[key; 2]);
        for (job, ready) in (0..).zip(ready) {
            let process = 7 + job;
            // Granted a tenth of a second apart, as the rate demands.
            evidence.worker(process, 0, Fact::Born);
            evidence.worker(process, ready, Fact::Ready(0));
            evidence.worker(process, ready + 1, Fact::Starts(job, 1));
            evidence.worker(process, ready + 2, Fact::Done(job, 1));
            evidence.ended(job, 1, Some(ready + 1));
            let grant = evidence.host_notes.iter_mut().rev();
            let mut grant = grant.filter(|note| matches!(note.fact, Fact::Grants(..)));
            grant.next().unwrap().at = (1 + u64::from(job) * 100) * MS;
        }
        evidence.broken()
    };
    assert_eq!(loaded_until([300, 400]), []);
    // Both loaded until the same moment, and began at once.
    assert_eq!(loaded_until([300, 310]), [Rule::Rate]);
}

#[test]
fn the_checker_finds_an_attempt_that_begins_without_a_grant() {
    let key = spec(Claim::Key(0), &[]);
    let mut evidence = evidence(&[key]);
    evidence.attempt(0, [0, 5, 6]);
    assert_eq!(evidence.broken(), []);
    let is_grant = |note: &Note| matches!(note.fact, Fact::Grants(..));
    for note in evidence.host_notes.iter_mut().filter(|note| is_grant(note)) {
        note.at = 5 * MS;
    }
    assert_eq!(evidence.broken(), [Rule::Granted], "too late");
    evidence.host_notes.retain(|note| !is_grant(note));
    assert_eq!(evidence.broken(), [Rule::Granted], "never");
    // It may have been sent ahead, if it asks for nothing.
    evidence.declared.sends_ahead = |_| true;
    assert_eq!(evidence.broken(), [Rule::Granted]);
    evidence.specs[0].claim = Claim::Nothing;
    assert_eq!(evidence.broken(), []);
}

#[test]
fn the_checker_allows_a_grant_for_one_worker_to_go_to_another_that_became_free() {
    let key = spec(Claim::Key(0), &[]);
    let free = spec(Claim::Nothing, &[]);
    let granted = |earlier: u64, next_starts: u64| {
        let mut evidence = evidence(&[key, key, free]);
        let early = Fact::Grants(0, u32::try_from(earlier * MS).unwrap());
        evidence.attempt(0, [51, 55, 56]);
        for note in &mut evidence.host_notes {
            if matches!(note.fact, Fact::Grants(0, _)) {
                (note.at, note.fact) = (52 * MS, early);
            }
        }
        evidence.attempt(2, [0, next_starts, 58]);
        evidence.attempt(1, [60, 150, 152]);
        evidence.broken()
    };
    // The window is from 51 to 150, and a tenth of a second is required.
    assert_eq!(granted(1, 57), [Rule::Rate]);
    assert_eq!(granted(2, 57), []);
    // It was kept waiting: an attempt with a later grant had begun before it got its worker.
    assert_eq!(granted(2, 50), [Rule::Granted]);
}

#[test]
fn the_checker_allows_the_higher_rate_until_a_change_is_confirmed() {
    let api = spec(Claim::Nothing, &[Named::Api]);
    let mut evidence = evidence(&[api; 2]);
    evidence.attempt(0, [0, 5, 6]);
    evidence.attempt(1, [40, 50, 51]);
    assert_eq!(evidence.broken(), [Rule::Rate]);
    let api = Named::Api as u32;
    evidence
        .host_notes
        .push(host_note(10, 1, Fact::Changing(api, 30)));
    evidence
        .host_notes
        .push(host_note(20, 1, Fact::Changed(api, 10)));
    // 50 ms at 10 per second, and 10 of them at 20 more.
    assert_eq!(evidence.broken(), [Rule::Rate]);
    evidence.host_notes.pop();
    assert_eq!(evidence.broken(), []);
}

#[test]
fn the_checker_finds_more_attempts_than_a_limit_allows() {
    let db = spec(Claim::Nothing, &[Named::Db]);
    let disk = spec(Claim::Nothing, &[Named::Disk]);
    let three = [[0, 1, 10], [0, 2, 10], [0, 3, 10]];
    assert_eq!(broken(&[db; 3], &three), [Rule::Limit]);
    assert_eq!(broken(&[db; 2], &three[..2]), []);
    assert_eq!(broken(&[disk; 2], &three[..2]), [Rule::Limit]);
    assert_eq!(broken(&[disk; 2], &[[0, 1, 2], [0, 3, 4]]), []);
}

#[test]
fn the_checker_applies_a_lowered_limit_to_attempts_dispatched_after_it() {
    let db = spec(Claim::Nothing, &[Named::Db]);
    let lowered = |granted: u64| {
        let mut evidence = evidence(&[db; 2]);
        let db = Named::Db as u32;
        evidence
            .host_notes
            .push(host_note(20, 1, Fact::Changing(db, 1)));
        evidence
            .host_notes
            .push(host_note(30, 1, Fact::Changed(db, 1)));
        evidence.attempt(0, [0, 1, 90]);
        evidence.attempt(1, [0, 50, 90]);
        let last = evidence.host_notes.iter_mut().rev();
        let mut grants = last.filter(|note| matches!(note.fact, Fact::Grants(..)));
        grants.next().unwrap().at = granted * MS;
        evidence.broken()
    };
    assert_eq!(lowered(29), []);
    assert_eq!(lowered(31), [Rule::Limit]);
}

#[test]
fn the_checker_finds_more_filled_slots_than_there_are() {
    let heavy = JobSpec {
        slots: 2,
        ..spec(Claim::Nothing, &[])
    };
    let three = [[0, 1, 10], [0, 2, 10], [0, 3, 10]];
    assert_eq!(broken(&[heavy; 3], &three), [Rule::Slots]);
    assert_eq!(broken(&[heavy; 2], &three[..2]), []);
    // The last was granted just before it began, when the first had not ended.
    let two_of_three = [[0, 1, 2], [0, 1, 10], [0, 2, 10]];
    assert_eq!(broken(&[heavy; 3], &two_of_three), [Rule::Slots]);
    let two_of_three = [[0, 1, 2], [0, 1, 10], [0, 4, 10]];
    assert_eq!(broken(&[heavy; 3], &two_of_three), []);
}

#[test]
fn no_slot_has_a_number_above_their_number_or_two_attempts_at_once() {
    let numbered = |slots: [u32; 2], starts: [u64; 2]| {
        let mut evidence = evidence(&[spec(Claim::Nothing, &[]); 2]);
        for (job, start) in (0..).zip(starts) {
            evidence.attempt(job, [0, start, 10 + start]);
        }
        for (ending, slot) in evidence.journal.iter_mut().zip(slots) {
            ending.slots = vec![(1, slot)];
        }
        evidence.broken()
    };
    assert_eq!(numbered([1, 4], [1, 5]), []);
    assert_eq!(numbered([1, 5], [1, 5]), [Rule::Slots], "there are four");
    assert_eq!(numbered([2, 2], [1, 5]), [Rule::Slots], "at once");
    assert_eq!(numbered([2, 2], [1, 12]), []);
}

#[test]
fn no_job_gets_a_slot_with_a_number_above_their_number() {
    let fills = |slot: u32, at: u64| {
        let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
        let lowered = [
            (20, Fact::Changing(0, 3)),
            (30, Fact::Changed(0, 3)),
            (at, Fact::Grants(0, 0)),
            (at, Fact::Fills(0, slot)),
        ];
        let lowered = lowered.map(|(at, fact)| host_note(at, 1, fact));
        evidence.attempt(0, [0, 5, 6]);
        evidence.host_notes.extend(lowered);
        evidence.broken().contains(&Rule::Slots)
    };
    assert!(!fills(4, 10) && !fills(4, 25) && !fills(3, 40));
    assert!(fills(5, 10) && fills(5, 25) && fills(4, 40));
}

#[test]
fn the_checker_finds_a_device_that_two_attempts_have_at_once() {
    let one = JobSpec {
        devices: 1,
        ..spec(Claim::Nothing, &[])
    };
    let both = JobSpec { devices: 2, ..one };
    // Two attempts that run from 1 to 9 and from `start` on, with these devices.
    let rules = |specs: [JobSpec; 2], devices: [&[u32]; 2], start: u64| {
        let mut evidence = evidence(&specs);
        for (job, (devices, begins)) in (0..).zip(devices.into_iter().zip([1, start])) {
            let process = 7 + job;
            evidence.worker(process, 0, Fact::Born);
            evidence.worker(process, begins, Fact::Starts(job, 1));
            for device in devices {
                evidence.worker(process, begins, Fact::Has(job, *device));
            }
            evidence.worker(process, begins + 8, Fact::Done(job, 1));
            evidence.ended(job, 1, Some(begins));
        }
        evidence.broken()
    };
    assert_eq!(rules([one, one], [&[0], &[1]], 5), []);
    assert_eq!(rules([one, one], [&[0], &[0]], 9), []);
    assert_eq!(rules([one, one], [&[0], &[0]], 5), [Rule::Resource]);
    assert_eq!(rules([both, one], [&[0, 1], &[1]], 5), [Rule::Resource]);
    assert_eq!(rules([both, one], [&[0, 0], &[1]], 9), [Rule::Resource]);
    assert_eq!(rules([one, one], [&[0], &[]], 5), [Rule::Resource]);
    assert_eq!(rules([one, one], [&[0], &[2]], 5), [Rule::Resource]);
}
