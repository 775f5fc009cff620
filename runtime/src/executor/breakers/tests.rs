//! Tests of the breakers as a value.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const API: KindId = KindId(0);
const FREE: KindId = KindId(1);

fn config() -> BreakerConfig {
    BreakerConfig {
        failure_rate: None,
        consecutive: Some(2),
        open: 10 * SECOND,
        probes: 1,
        ..BreakerConfig::default()
    }
}

fn breakers(config: BreakerConfig) -> (Breakers, Instant) {
    let now = tokio::time::Instant::now().into_std();
    let wall = SystemTime::UNIX_EPOCH + 1_000 * SECOND;
    let kinds = vec![("api".to_owned(), Some(config)), ("free".to_owned(), None)];
    (Breakers::new(kinds, (now, wall), Some(1)), now)
}

fn ticket(index: u32) -> Ticket {
    Ticket {
        index,
        generation: 0,
    }
}

fn down() -> Failure {
    Failure::new(Class::Task, "connection refused")
}

/// Lets a job arrive, run and leave.
fn run(
    breakers: &mut Breakers,
    number: u32,
    host: Option<&HostName>,
    failure: Option<&Failure>,
    now: Instant,
) {
    breakers.arrived(API, host);
    breakers.admit(ticket(number), API, host, now).unwrap();
    breakers.ended(ticket(number), failure, now);
    breakers.left(ticket(number), API, host, now);
}

fn waits(breakers: &mut Breakers, number: u32, host: Option<&HostName>, now: Instant) -> Instant {
    breakers.arrived(API, host);
    let refusal = breakers.admit(ticket(number), API, host, now).unwrap_err();
    assert!(!refusal.fails);
    refusal.retry_at
}

#[test]
fn a_kind_without_a_breaker_is_never_asked_about() {
    let (mut breakers, now) = breakers(config());
    assert!(
        breakers.has_breaker(API)
            && !breakers.has_breaker(FREE)
            && !breakers.has_breaker(KindId(9))
    );
    breakers.arrived(FREE, None);
    for _ in 0..10 {
        breakers.admit(ticket(1), FREE, None, now).unwrap();
        breakers.ended(ticket(1), Some(&down()), now);
    }
    assert_eq!(breakers.reports(now), []);
}

#[test]
fn a_host_that_is_down_stops_its_own_jobs_only() {
    let (mut breakers, now) = breakers(config());
    let (web1, web2) = (HostName::from("web1"), HostName::from("web2"));
    run(&mut breakers, 1, Some(&web1), Some(&down()), now);
    run(&mut breakers, 2, Some(&web1), Some(&down()), now);
    let retry_at = waits(&mut breakers, 3, Some(&web1), now);
    assert!(now + 9 * SECOND <= retry_at && retry_at <= now + 10 * SECOND);
    run(&mut breakers, 4, Some(&web2), None, now);
    run(&mut breakers, 5, None, None, now);
    let changed = breakers.take_changed();
    assert_eq!(changed.len(), 1);
    let report = &changed[0];
    assert_eq!(
        (report.name.as_str(), report.host.as_ref(), report.state),
        ("api", Some(&web1), BreakerState::Open)
    );
    assert_eq!(
        report.reason,
        "too many attempts failed in a row; task: connection refused"
    );
    assert_eq!(report.first_opened_at_ms, 1_000_000);
}

#[test]
fn a_refused_job_asks_again_as_soon_as_the_probe_has_succeeded() {
    let (mut breakers, now) = breakers(config());
    run(&mut breakers, 1, None, Some(&down()), now);
    run(&mut breakers, 2, None, Some(&down()), now);
    breakers.take_released();
    let back = waits(&mut breakers, 3, None, now);
    waits(&mut breakers, 4, None, now);
    breakers.admit(ticket(3), API, None, back).unwrap();
    assert_eq!(breakers.take_released(), [ticket(4)].into());
    let far = breakers.admit(ticket(4), API, None, back).unwrap_err();
    assert!(
        far.retry_at > back + 1_000 * SECOND,
        "it waits for the probe"
    );
    assert!(breakers.take_released().is_empty());
    breakers.ended(ticket(3), None, back + SECOND);
    assert_eq!(breakers.take_released(), [ticket(4)].into());
    breakers.admit(ticket(4), API, None, back + SECOND).unwrap();
    let reports = breakers.reports(back + SECOND);
    let open = back + SECOND - now;
    assert_eq!(
        (reports[0].state, reports[0].opened, reports[0].open_ms),
        (BreakerState::Closed, 1, millis(open))
    );
}

#[test]
fn a_probe_that_says_nothing_makes_room_for_another() {
    for way in 0..3 {
        let (mut breakers, now) = breakers(config());
        run(&mut breakers, 1, None, Some(&down()), now);
        run(&mut breakers, 2, None, Some(&down()), now);
        let back = waits(&mut breakers, 3, None, now);
        waits(&mut breakers, 4, None, now);
        breakers.admit(ticket(3), API, None, back).unwrap();
        breakers.admit(ticket(4), API, None, back).unwrap_err();
        breakers.take_released();
        match way {
            0 => {
                let wrong = down().retryable(false);
                breakers.ended(ticket(3), Some(&wrong), back);
            }
            1 => breakers.returned(ticket(3), back),
            _ => breakers.left(ticket(3), API, None, back),
        }
        assert_eq!(breakers.take_released(), [ticket(4)].into(), "way {way}");
        breakers.admit(ticket(4), API, None, back).unwrap();
    }
}

#[test]
fn a_failed_probe_opens_it_for_longer_and_keeps_the_first_reason() {
    let (mut breakers, now) = breakers(config());
    run(&mut breakers, 1, None, Some(&down()), now);
    run(&mut breakers, 2, None, Some(&down()), now);
    let back = waits(&mut breakers, 3, None, now);
    breakers.admit(ticket(3), API, None, back).unwrap();
    let other = Failure::new(Class::Timeout, "it took too long");
    breakers.ended(ticket(3), Some(&other), back);
    let again = breakers.admit(ticket(3), API, None, back).unwrap_err();
    assert!(again.retry_at >= back + 18 * SECOND);
    let reports = breakers.reports(back);
    assert_eq!(reports[0].opened, 2);
    assert_eq!(
        reports[0].reason,
        "too many attempts failed in a row; task: connection refused"
    );
}

#[test]
fn a_breaker_that_rejects_has_jobs_fail_and_says_why() {
    let (mut breakers, now) = breakers(BreakerConfig {
        reject: true,
        ..config()
    });
    run(&mut breakers, 1, None, Some(&down()), now);
    run(&mut breakers, 2, None, Some(&down()), now);
    breakers.arrived(API, None);
    assert!(breakers.admit(ticket(3), API, None, now).unwrap_err().fails);
    assert_eq!(
        breakers.why_refused(API, None),
        "the breaker of api is open: too many attempts failed in a row; task: connection refused"
    );
}

#[test]
fn what_a_job_got_wrong_does_not_count() {
    let (mut breakers, now) = breakers(config());
    for failure in [
        down().retryable(false),
        Failure::new(Class::Input, "no number"),
        Failure::new(Class::Cancelled, "gone"),
    ] {
        for number in 0..5 {
            run(&mut breakers, number, None, Some(&failure), now);
        }
    }
    assert_eq!(breakers.reports(now), []);
}

#[test]
fn a_host_is_forgotten_with_its_last_job_unless_it_failed() {
    let (mut breakers, now) = breakers(config());
    let (good, bad) = (HostName::from("good"), HostName::from("bad"));
    run(&mut breakers, 1, Some(&good), None, now);
    run(&mut breakers, 2, Some(&bad), Some(&down()), now);
    let known = &breakers.kinds[0].as_ref().unwrap().hosts;
    assert_eq!(known.keys().collect::<Vec<_>>(), [&bad]);
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(u8),
    Admit(prop::sample::Index),
    End(prop::sample::Index, u8),
    Return(prop::sample::Index),
    Leave(prop::sample::Index),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0_u8..3).prop_map(Step::Arrive),
        8 => index().prop_map(Step::Admit),
        8 => (index(), 0_u8..4).prop_map(|(job, how)| Step::End(job, how)),
        1 => index().prop_map(Step::Return),
        1 => index().prop_map(Step::Leave),
        3 => (0_u64..15).prop_map(Step::Wait),
    ]
}

/// A job of the model: its host, and whether it runs.
#[derive(Debug, Clone, Copy)]
struct ModelJob {
    ticket: Ticket,
    host: u8,
    runs: bool,
    /// Whether the job was refused and was not told since to ask again.
    refused: bool,
}

proptest! {
    /// A refused job is told to ask again whenever its breaker would admit it.
    #[test]
    fn no_job_waits_for_a_breaker_that_would_admit_it(
        probes in 1_u32..4,
        ramp in proptest::option::of(5_u64..20),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let (mut breakers, start) = breakers(BreakerConfig {
            probes,
            ramp: ramp.map(Duration::from_secs),
            ..config()
        });
        let host = |number: u8| (number > 0).then(|| HostName::from(format!("h{number}")));
        let (mut jobs, mut next, mut now): (Vec<ModelJob>, u32, Instant) = (Vec::new(), 0, start);
        for step in steps {
            let pick = |index: prop::sample::Index, runs: bool, jobs: &[ModelJob]| {
                let those: Vec<usize> =
                    (0..jobs.len()).filter(|&job| jobs[job].runs == runs).collect();
                (!those.is_empty()).then(|| *index.get(&those))
            };
            match step {
                Step::Arrive(number) => {
                    next += 1;
                    breakers.arrived(API, host(number).as_ref());
                    jobs.push(ModelJob { ticket: ticket(next), host: number, runs: false, refused: false });
                }
                Step::Admit(index) => if let Some(at) = pick(index, false, &jobs) {
                    let job = &mut jobs[at];
                    let answer = breakers.admit(job.ticket, API, host(job.host).as_ref(), now);
                    job.runs = answer.is_ok();
                    job.refused = answer.is_err();
                    if let Err(refusal) = answer {
                        prop_assert!(refusal.retry_at > now);
                    }
                },
                Step::End(index, how) => if let Some(at) = pick(index, true, &jobs) {
                    let failure = match how {
                        0 => None,
                        1 => Some(down().retryable(false)),
                        _ => Some(down()),
                    };
                    breakers.ended(jobs[at].ticket, failure.as_ref(), now);
                    jobs[at].runs = false;
                },
                Step::Return(index) => if let Some(at) = pick(index, true, &jobs) {
                    breakers.returned(jobs[at].ticket, now);
                    jobs[at].runs = false;
                },
                Step::Leave(index) => if !jobs.is_empty() {
                    let job = jobs.swap_remove(index.index(jobs.len()));
                    breakers.left(job.ticket, API, host(job.host).as_ref(), now);
                },
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let released = breakers.take_released();
            for job in &mut jobs {
                if released.contains(&job.ticket) {
                    prop_assert!(!job.runs);
                    job.refused = false;
                }
            }
            let is_known = |ticket: &Ticket| jobs.iter().any(|job| job.ticket == *ticket);
            prop_assert!(released.iter().all(is_known), "a job that has left is released");
            // A closed breaker refuses no job, and a half-open one refuses only the jobs beyond its probes.
            for number in 0..3 {
                let of_host = |job: &&ModelJob| job.host == number;
                let refused = jobs.iter().filter(of_host).filter(|job| job.refused).count();
                let Some(Some(kind)) = breakers.kinds.get_mut(0) else { unreachable!() };
                let Some(entry) = kind.find_entry(host(number).as_ref()) else { continue };
                prop_assert_eq!(entry.refused.len(), refused);
                let seen = entry.breaker.snapshot(now);
                prop_assert!(seen.state != State::Closed || refused == 0);
                if seen.state == State::HalfOpen && refused > 0 {
                    prop_assert!(seen.probes_under_way > 0, "they wait, and no probe is under way");
                }
            }
        }
    }
}
