//! What jobs claim, and in which order they start.

use std::time::Duration;

use ratchet_queue::{Declaration, JobSpec, Refusal, Share, Submitted};
use ratchet_runtime::{Limit, ParallelizationHint, Priority, Resource};

use crate::bench::{Bench, again, exclusive, hinted, job};

crate::on_every_engine!(
    jobs_start_by_priority_and_then_as_they_came,
    a_claim_takes_no_more_than_asked_for,
    one_exclusive_job_runs_on_a_host,
    a_backlog_on_one_host_holds_up_no_other,
    one_global_job_runs_everywhere,
    a_job_that_is_alone_runs_beside_nothing,
    a_limit_holds_over_all_nodes,
    a_limit_can_be_changed_while_jobs_wait,
    a_rate_holds_over_all_nodes_and_retries,
    a_named_rate_and_a_host_are_taken_together,
    resources_have_identities,
    a_job_that_needs_fewer_units_may_pass,
    what_does_not_fit_is_refused,
    waiting_makes_up_for_priority,
    a_due_job_keeps_what_it_needs,
    a_due_job_that_must_be_alone_gets_quiet,
    a_due_job_of_many_slots_gets_a_node,
    a_job_that_nobody_can_do_keeps_nothing,
);

/// Declares a limit under the name `db`.
async fn declare(bench: &Bench, limit: Limit) {
    let declaration = Declaration::Limit("db".into(), limit);
    bench.engine.declare(&[declaration]).await.unwrap();
}

/// Returns a job that counts against the limit `db`.
fn limited(name: &str) -> JobSpec {
    JobSpec {
        limits: vec!["db".into()],
        ..job(name)
    }
}

/// Returns a job that takes units of the resource `gpu`.
fn taking(name: &str, units: u64) -> JobSpec {
    JobSpec {
        resources: vec![("gpu".into(), units)],
        ..job(name)
    }
}

async fn jobs_start_by_priority_and_then_as_they_came(bench: Bench) {
    let with = |name, priority| JobSpec {
        priority,
        ..job(name)
    };
    bench
        .submit([
            with("low", Priority::Low),
            with("first", Priority::Normal),
            with("second", Priority::Normal),
            with("urgent", Priority::Critical),
            with("high", Priority::High),
        ])
        .await;
    let node = bench.join(8).await;
    let names = bench.names(node, 8).await;
    assert_eq!(names, ["urgent", "high", "first", "second", "low"]);
}

async fn a_claim_takes_no_more_than_asked_for(bench: Bench) {
    let wide = JobSpec {
        slots: 3,
        ..job("wide")
    };
    bench
        .submit([job("a"), job("b"), job("c"), wide, job("d")])
        .await;
    let node = bench.join(8).await;
    let two = bench.engine.claim(node, 8, 2).await.unwrap().claims;
    assert_eq!(two.len(), 2);
    // Two slots are not enough for the wide one, and the job behind it may pass.
    assert_eq!(bench.names(node, 2).await, ["c", "d"]);
    assert_eq!(bench.names(node, 3).await, ["wide"]);
}

async fn one_exclusive_job_runs_on_a_host(bench: Bench) {
    let on = |name, host| exclusive(name, host);
    bench
        .submit([on("a1", "a"), on("a2", "a"), on("b1", "b")])
        .await;
    let (one, two) = (bench.join(8).await, bench.join(8).await);
    let first = bench.claim(one, 1).await;
    assert_eq!(first[0].job.as_str(), "a1");
    assert_eq!(bench.names(two, 8).await, ["b1"]);
    assert!(bench.claim(one, 8).await.is_empty());
    bench.succeed(one, &first).await;
    assert_eq!(bench.names(two, 8).await, ["a2"]);
}

async fn a_backlog_on_one_host_holds_up_no_other(bench: Bench) {
    let backlog = (0..200).map(|number| exclusive(&format!("busy{number}"), "busy"));
    bench.submit(backlog).await;
    let others = (0..50).map(|number| exclusive(&format!("free{number}"), &format!("h{number}")));
    bench.submit(others).await;
    let node = bench.join(500).await;
    assert_eq!(bench.claim(node, 500).await.len(), 51);
}

async fn one_global_job_runs_everywhere(bench: Bench) {
    let global = |name, host: &str| JobSpec {
        host: Some(host.into()),
        ..hinted(name, ParallelizationHint::GlobalExclusive)
    };
    bench
        .submit([
            global("one", "a"),
            global("two", "b"),
            exclusive("same host", "a"),
            exclusive("other host", "b"),
            job("free"),
        ])
        .await;
    let (one, two) = (bench.join(8).await, bench.join(8).await);
    let first = bench.claim(one, 1).await;
    assert_eq!(first[0].job.as_str(), "one");
    assert_eq!(bench.names(two, 8).await, ["other host", "free"]);
    bench.succeed(one, &first).await;
    // The second global job waits for its host now, where the exclusive one runs.
    assert_eq!(bench.names(two, 8).await, ["same host"]);
}

async fn a_job_that_is_alone_runs_beside_nothing(bench: Bench) {
    bench
        .submit([
            job("before"),
            hinted("alone", ParallelizationHint::Alone),
            job("after"),
        ])
        .await;
    let (one, two) = (bench.join(8).await, bench.join(8).await);
    let before = bench.claim(one, 1).await;
    assert_eq!(before[0].job.as_str(), "before");
    // It is not due yet, so the job behind it passes.
    let after = bench.claim(two, 8).await;
    assert_eq!(after[0].job.as_str(), "after");
    bench.succeed(one, &before).await;
    bench.succeed(two, &after).await;
    let alone = bench.claim(one, 8).await;
    assert_eq!(alone[0].job.as_str(), "alone");
    bench.submit([job("later")]).await;
    assert!(bench.claim(two, 8).await.is_empty());
    bench.succeed(one, &alone).await;
    assert_eq!(bench.names(two, 8).await, ["later"]);
}

async fn a_limit_holds_over_all_nodes(bench: Bench) {
    declare(&bench, Limit::max(2).unwrap()).await;
    bench.submit(["a", "b", "c", "d"].map(limited)).await;
    bench.submit([job("free")]).await;
    let (one, two) = (bench.join(8).await, bench.join(8).await);
    let first = bench.claim(one, 1).await;
    assert_eq!(bench.names(two, 8).await, ["b", "free"]);
    bench.succeed(one, &first).await;
    assert_eq!(bench.names(one, 8).await, ["c"]);
}

async fn a_limit_can_be_changed_while_jobs_wait(bench: Bench) {
    declare(&bench, Limit::max(1).unwrap()).await;
    bench.submit(["a", "b", "c", "d"].map(limited)).await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await;
    assert_eq!(first.len(), 1);
    declare(&bench, Limit::max(3).unwrap()).await;
    let more = bench.claim(node, 8).await;
    assert_eq!(more.len(), 2);
    declare(&bench, Limit::max(1).unwrap()).await;
    bench.succeed(node, &more).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.succeed(node, &first).await;
    assert_eq!(bench.names(node, 8).await, ["d"]);
    // A number of units does not become a rate, nor a resource under another count.
    let rate = Declaration::Limit("db".into(), Limit::rate("1/s".parse().unwrap(), 1).unwrap());
    assert!(bench.engine.declare(&[rate]).await.is_err());
}

async fn a_rate_holds_over_all_nodes_and_retries(bench: Bench) {
    let hint = ParallelizationHint::RateLimited {
        requests_per_second: 3.0,
        burst: 2,
        key: Some("api".into()),
    };
    let calls = ["a", "b", "c", "d"].map(|name| hinted(name, hint.clone()));
    bench.submit(calls).await;
    let (one, two) = (bench.join(8).await, bench.join(8).await);
    let first = bench.claim(one, 1).await;
    assert_eq!(bench.names(two, 8).await, ["b"]);
    // A third of a second is not a whole number of microseconds.
    let claims = bench.claims(two, 8).await;
    assert!(claims.claims.is_empty());
    assert_eq!(claims.ask_again, Some(Duration::from_micros(333_334)));
    bench.clock.advance(Duration::from_micros(333_333));
    assert!(bench.claim(two, 8).await.is_empty());
    bench.clock.advance(Duration::from_micros(1));
    // A retry needs a token of its own, and is ahead of those that came later.
    bench.end(one, &first[0], again(0)).await;
    assert_eq!(bench.names(two, 8).await, ["a"]);
    bench.pass(10_000);
    assert_eq!(bench.names(one, 8).await, ["c", "d"]);
}

async fn a_named_rate_and_a_host_are_taken_together(bench: Bench) {
    let limit = Limit::rate("1/s".parse().unwrap(), 1).unwrap();
    declare(&bench, limit).await;
    let both = |name, host| JobSpec {
        limits: vec!["db".into()],
        ..exclusive(name, host)
    };
    bench
        .submit([both("a1", "a"), both("a2", "a"), both("b1", "b")])
        .await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await;
    assert_eq!(first.len(), 1);
    bench.pass(1000);
    // `a2` waits for its host and takes no token, so `b1` gets it.
    assert_eq!(bench.names(node, 8).await, ["b1"]);
    bench.succeed(node, &first).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.pass(1000);
    assert_eq!(bench.names(node, 8).await, ["a2"]);
}

async fn resources_have_identities(bench: Bench) {
    let gpus = Resource::identities(["x", "y", "z"]).unwrap();
    let declaration = Declaration::Resource("gpu".into(), gpus);
    (bench.engine.declare(&[declaration])).await.unwrap();
    bench
        .submit([taking("one", 1), taking("two", 2), taking("three", 1)])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    let share = |units, identities: &[&str]| {
        vec![Share {
            resource: "gpu".into(),
            units,
            identities: identities.iter().map(|name| (*name).into()).collect(),
        }]
    };
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0].shares, share(1, &["x"]));
    assert_eq!(claims[1].shares, share(2, &["y", "z"]));
    bench.succeed(node, &claims[1..]).await;
    assert_eq!(bench.claim(node, 8).await[0].shares, share(1, &["y"]));
}

async fn a_job_that_needs_fewer_units_may_pass(bench: Bench) {
    let licences = Declaration::Resource("gpu".into(), Resource::count(3).unwrap());
    bench.engine.declare(&[licences]).await.unwrap();
    bench
        .submit([
            taking("a", 2),
            taking("b", 2),
            taking("c", 1),
            taking("d", 1),
        ])
        .await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await;
    let names: Vec<&str> = first.iter().map(|claim| claim.job.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(first[0].shares[0].units, 2);
    bench.succeed(node, &first[..1]).await;
    assert_eq!(bench.names(node, 8).await, ["b"]);
}

async fn what_does_not_fit_is_refused(bench: Bench) {
    let licences = Declaration::Resource("gpu".into(), Resource::count(3).unwrap());
    bench.engine.declare(&[licences]).await.unwrap();
    let refusal = |answer| match answer {
        Submitted::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let answer = bench.try_submit(limited("a")).await;
    assert_eq!(refusal(answer), Refusal::UnknownLimit { name: "db".into() });
    let answer = bench.try_submit(taking("a", 4)).await;
    let expected = Refusal::ImpossibleResource {
        name: "gpu".into(),
        asked: 4,
        total: 3,
    };
    assert_eq!(refusal(answer), expected);
    let unknown = JobSpec {
        resources: vec![("tpu".into(), 1)],
        ..job("a")
    };
    let expected = Refusal::UnknownResource { name: "tpu".into() };
    assert_eq!(refusal(bench.try_submit(unknown).await), expected);
    let rate = |name, requests_per_second| {
        let key = Some("api".to_owned());
        hinted(
            name,
            ParallelizationHint::RateLimited {
                requests_per_second,
                burst: 1,
                key,
            },
        )
    };
    bench.submit([rate("slow", 1.0)]).await;
    let answer = bench.try_submit(rate("fast", 2.0)).await;
    assert_eq!(refusal(answer), Refusal::RateConflict { key: "api".into() });
    // Nobody uses the key any more, so it may get another rate.
    let node = bench.join(1).await;
    let claims = bench.claim(node, 1).await;
    bench.succeed(node, &claims).await;
    assert_eq!(
        bench.try_submit(rate("fast", 2.0)).await,
        Submitted::Accepted
    );
    let slotless = JobSpec {
        slots: 0,
        ..job("a")
    };
    assert!(bench.engine.submit(&[slotless]).await.is_err());
}

async fn waiting_makes_up_for_priority(bench: Bench) {
    let low = JobSpec {
        priority: Priority::Low,
        ..job("old and low")
    };
    bench.submit([low]).await;
    let critical = |name| JobSpec {
        priority: Priority::Critical,
        ..job(name)
    };
    // Three steps are between low and critical.
    bench.pass(3 * 3_600_000 - 1);
    bench.submit([critical("passes")]).await;
    bench.pass(2);
    bench.submit([critical("comes too late")]).await;
    let node = bench.join(8).await;
    let names = bench.names(node, 8).await;
    assert_eq!(names, ["passes", "old and low", "comes too late"]);
}

async fn a_due_job_keeps_what_it_needs(bench: Bench) {
    declare(&bench, Limit::max(2).unwrap()).await;
    let gpu = Declaration::Resource("gpu".into(), Resource::count(1).unwrap());
    bench.engine.declare(&[gpu]).await.unwrap();
    let node = bench.join(8).await;
    bench.submit([taking("holder", 1)]).await;
    let holder = bench.claim(node, 8).await;
    let both = JobSpec {
        limits: vec!["db".into()],
        ..taking("both", 1)
    };
    bench.submit([both]).await;
    assert!(bench.claim(node, 8).await.is_empty());
    for _ in 0..4 * 360 {
        bench.pass(10_000);
        bench.renew(node, &holder).await;
    }
    // One unit of the limit is kept for the due job, although it still lacks the resource.
    bench.submit([limited("a"), limited("b")]).await;
    assert_eq!(bench.names(node, 8).await, ["a"]);
    bench.succeed(node, &holder).await;
    assert_eq!(bench.names(node, 8).await, ["both"]);
}

async fn a_due_job_that_must_be_alone_gets_quiet(bench: Bench) {
    let node = bench.join(8).await;
    bench.submit([job("running")]).await;
    let running = bench.claim(node, 1).await;
    bench
        .submit([hinted("alone", ParallelizationHint::Alone)])
        .await;
    for _ in 0..4 * 360 {
        bench.pass(10_000);
        bench.renew(node, &running).await;
    }
    bench.submit([job("late")]).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.succeed(node, &running).await;
    let alone = bench.claim(node, 8).await;
    assert_eq!(alone[0].job.as_str(), "alone");
    bench.succeed(node, &alone).await;
    assert_eq!(bench.names(node, 8).await, ["late"]);
}

async fn a_due_job_of_many_slots_gets_a_node(bench: Bench) {
    let wide = JobSpec {
        slots: 2,
        ..job("wide")
    };
    let (node, other) = (bench.join(2).await, bench.join(2).await);
    bench.submit([job("running")]).await;
    let running = bench.claim(node, 1).await;
    bench.submit([wide]).await;
    assert!(bench.claim(node, 1).await.is_empty());
    for _ in 0..4 * 360 {
        bench.pass(10_000);
        bench.renew(node, &running).await;
        bench.renew(other, &[]).await;
    }
    bench.submit([job("late"), job("later")]).await;
    // One slot is free, and is kept for the job that fills two. The other node is not held up.
    assert!(bench.claim(node, 1).await.is_empty());
    assert_eq!(bench.names(other, 1).await, ["late"]);
    bench.succeed(node, &running).await;
    assert_eq!(bench.names(node, 2).await, ["wide"]);
}

async fn a_job_that_nobody_can_do_keeps_nothing(bench: Bench) {
    declare(&bench, Limit::max(1).unwrap()).await;
    let special = JobSpec {
        labels: vec!["special".parse().unwrap()],
        ..limited("special")
    };
    bench.submit([special, limited("plain")]).await;
    bench.pass(5 * 3_600_000);
    let node = bench.join(8).await;
    assert_eq!(bench.names(node, 8).await, ["plain"]);
}
