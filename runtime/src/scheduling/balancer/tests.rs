use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn workers(loads: &[u32]) -> Vec<Candidate> {
    (0..)
        .zip(loads)
        .map(|(number, &in_flight)| Candidate {
            worker: WorkerNumber(number),
            in_flight,
            capacity: 8,
            weight: 1,
        })
        .collect()
}

fn choices(balancer: &mut dyn Balancer, candidates: &[Candidate], times: usize) -> Vec<usize> {
    (0..times)
        .map(|_| balancer.choose(candidates, None).unwrap())
        .collect()
}

#[test]
fn least_loaded_compares_shares_and_takes_turns_among_equals() {
    let mut candidates = workers(&[2, 2, 2]);
    let mut balancer = LeastLoaded::default();
    assert_eq!(choices(&mut balancer, &candidates, 4), [0, 1, 2, 0]);
    candidates[1].capacity = 16;
    assert_eq!(choices(&mut balancer, &candidates, 2), [1, 1]);
}

#[test]
fn round_robin_goes_on_when_workers_come_and_go() {
    let mut candidates = workers(&[0, 0, 0, 0]);
    let mut balancer = RoundRobin::default();
    assert_eq!(choices(&mut balancer, &candidates, 2), [0, 1]);
    candidates.remove(1);
    // Numbers 0, 2 and 3 are left; 2 is next.
    assert_eq!(choices(&mut balancer, &candidates, 3), [1, 2, 0]);
    candidates[1].in_flight = 8;
    assert_eq!(choices(&mut balancer, &candidates, 2), [2, 0]);
}

#[test]
fn weighted_follows_the_weights_and_mixes_them() {
    let mut candidates = workers(&[0, 0, 0]);
    for (candidate, weight) in candidates.iter_mut().zip([5, 1, 1]) {
        candidate.weight = weight;
    }
    let mut balancer = Weighted::default();
    let chosen = choices(&mut balancer, &candidates, 7);
    assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0]);

    candidates[0].in_flight = 8;
    candidates[1].weight = 0;
    assert_eq!(choices(&mut balancer, &candidates, 3), [2, 2, 2]);
    candidates[2].in_flight = 8;
    assert_eq!(choices(&mut balancer, &candidates, 1), [1]);
}

/// Returns how many attempts each worker gets when it answers as `answer` says.
fn simulate(
    balancer: &mut dyn Balancer,
    rounds: usize,
    answer: impl Fn(usize, usize) -> (Duration, bool),
) -> Vec<usize> {
    let candidates = workers(&[0, 0, 0, 0]);
    let mut got = vec![0; candidates.len()];
    for round in 0..rounds {
        let at = balancer.choose(&candidates, None).unwrap();
        got[at] += 1;
        let (took, well) = answer(at, round);
        balancer.record(candidates[at].worker, took, well);
    }
    got
}

#[test]
fn power_of_two_prefers_the_fast_and_distrusts_the_failing() {
    let slow = |at, _| (Duration::from_millis(if at == 0 { 100 } else { 10 }), true);
    let got = simulate(&mut PowerOfTwo::default(), 4_000, slow);
    assert!(
        got[0] < 200 && got[1..].iter().all(|&got| got > 1_000),
        "{got:?}"
    );

    // Worker 0 fails at once, which is ten times as fast as success.
    let failing = |at, _| (Duration::from_millis(if at == 0 { 1 } else { 10 }), at != 0);
    let got = simulate(&mut PowerOfTwo::default(), 4_000, failing);
    assert!(got[0] < 400, "a fast failure draws no traffic: {got:?}");

    // It recovers after a quarter of the time, and that is noticed.
    let healed = |at, round| (Duration::from_millis(10), at != 0 || round > 1_000);
    let got = simulate(&mut PowerOfTwo::default(), 8_000, healed);
    assert!(
        got[0] > 800,
        "a worker that recovered is trusted again: {got:?}"
    );
}

#[test]
fn power_of_two_tries_one_again_that_was_slow_once() {
    // Its first attempt took a minute, as may happen with cold caches.
    let cold = |at, round| {
        let minute = at == 0 && round < 20;
        let took = Duration::from_millis(if minute { 60_000 } else { 10 });
        (took, true)
    };
    let got = simulate(&mut PowerOfTwo::default(), 8_000, cold);
    assert!(got[0] > 800, "one slow attempt is forgiven: {got:?}");
}

#[test]
fn power_of_two_does_not_flood_a_worker_that_nobody_knows_yet() {
    let mut candidates = workers(&[0, 0, 0, 0]);
    for candidate in &mut candidates {
        candidate.capacity = 1_000;
    }
    let mut balancer = PowerOfTwo::default();
    for candidate in &candidates[1..] {
        balancer.record(candidate.worker, Duration::from_millis(10), true);
    }
    for _ in 0..400 {
        let at = balancer.choose(&candidates, None).unwrap();
        candidates[at].in_flight += 1;
    }
    let loads: Vec<u32> = candidates.iter().map(|one| one.in_flight).collect();
    assert!(
        loads.iter().all(|load| (80..=120).contains(load)),
        "{loads:?}"
    );
}

#[test]
fn affinity_keeps_a_key_on_its_worker_and_moves_only_what_it_must() {
    let all = workers(&[0; 5]);
    let home = |candidates: &[Candidate]| -> BTreeMap<String, WorkerNumber> {
        let mut balancer = Affinity::default();
        let keys = (0..500).map(|number| format!("host {number}"));
        keys.map(|key| {
            let at = balancer.choose(candidates, Some(&key)).unwrap();
            (key, candidates[at].worker)
        })
        .collect()
    };
    let before = home(&all);
    for worker in &all {
        let share = before
            .values()
            .filter(|&&home| home == worker.worker)
            .count();
        assert!(
            (60..=140).contains(&share),
            "{share} of 500 keys on one of five"
        );
    }
    let fewer: Vec<Candidate> = all
        .iter()
        .copied()
        .filter(|one| one.worker.0 != 3)
        .collect();
    for (key, worker) in home(&fewer) {
        assert!(
            worker == before[&key] || before[&key].0 == 3,
            "{key} moved without need"
        );
    }
}

#[test]
fn affinity_does_not_unbalance() {
    // One key for everything: it stays on one worker only while that is not far above average.
    let mut candidates = workers(&[0; 4]);
    let mut balancer = Affinity::default();
    for _ in 0..20 {
        let at = balancer.choose(&candidates, Some("the only host")).unwrap();
        candidates[at].in_flight += 1;
    }
    let most = candidates.iter().map(|one| one.in_flight).max().unwrap();
    assert!(
        most <= 7,
        "20 attempts on 4 workers, a quarter above 5 at most: {most}"
    );
}

proptest! {
    #[test]
    fn all_choose_one_with_room_if_there_is_one(
        loads in prop::collection::vec(0u32..=8, 0..6), key in prop::option::of("[a-c]"),
    ) {
        let candidates = workers(&loads);
        for balance in [
            Balance::LeastLoaded, Balance::RoundRobin, Balance::Weighted, Balance::PowerOfTwo, Balance::Affinity,
        ] {
            let mut balancer = balance.balancer();
            for _ in 0..5 {
                match balancer.choose(&candidates, key.as_deref()) {
                    Some(at) => prop_assert!(candidates[at].in_flight < 8),
                    None => prop_assert!(loads.iter().all(|&load| load == 8)),
                }
            }
        }
    }
}

#[test]
fn settings_name_a_balancer_and_an_unknown_name_is_refused() {
    let named: Balance = serde_json::from_str(r#""power_of_two""#).unwrap();
    assert_eq!(named, Balance::PowerOfTwo);
    assert!(serde_json::from_str::<Balance>(r#""fastest""#).is_err());
}
