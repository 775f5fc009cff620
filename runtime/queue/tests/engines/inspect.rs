//! What those who look after a queue ask of it: pausing, asking for jobs again, forgetting them, and why a job waits.

use std::time::Duration;

use ratchet_queue::{
    AttemptEnd, Declaration, EventKind, ExplainedState, Explanation, FinalStatus, JobSpec,
    JobState, NodeLack, NodeSpec, Purged, Refusal, Requeued, Submitted, WaitReason,
};
use ratchet_runtime::{Limit, ParallelizationHint, Resource};

use crate::bench::{Bench, again, exclusive, hinted, job, name, over};

crate::on_every_engine!(
    a_paused_queue_starts_nothing_and_lets_what_runs_go_on,
    a_failed_job_waits_again_with_its_attempts_counted_anew,
    a_job_is_requeued_with_what_it_needs,
    a_job_that_cannot_be_requeued_says_why,
    jobs_that_would_need_each_other_are_not_requeued,
    a_requeued_job_needs_its_rate_key,
    a_purged_job_is_gone_with_its_result,
    a_name_that_is_used_again_has_nothing_of_its_first_job,
    nodes_are_told_with_what_they_do,
    jobs_are_listed_by_name_a_page_at_a_time,
    every_reason_to_wait_is_told,
    a_job_that_no_node_can_do_says_what_they_lack,
    a_job_that_runs_or_has_ended_says_where_and_how,
);

/// Returns a job that needs another one.
fn needing(name_: &str, need: &str) -> JobSpec {
    JobSpec {
        needs: vec![name(need)],
        ..job(name_)
    }
}

/// Returns how a job is explained that the queue has to know.
async fn explain(bench: &Bench, job: &str) -> Explanation {
    let explained = bench.engine.explain(&name(job)).await.unwrap();
    explained.unwrap_or_else(|| panic!("{job} is not known"))
}

/// Returns why a job waits, and how many are before it.
async fn reasons(bench: &Bench, job: &str) -> (Vec<WaitReason>, Option<u64>) {
    match explain(bench, job).await.state {
        ExplainedState::Waiting { reasons, ahead } => (reasons, ahead),
        other => panic!("{job} does not wait: {other:?}"),
    }
}

async fn requeue(bench: &Bench, job: &str) -> Requeued {
    let answers = bench.engine.requeue(&[name(job)]).await.unwrap();
    answers.into_iter().next().unwrap()
}

async fn purge(bench: &Bench, job: &str) -> Purged {
    bench.engine.purge(&[name(job)]).await.unwrap()[0]
}

async fn a_paused_queue_starts_nothing_and_lets_what_runs_go_on(bench: Bench) {
    bench.submit([job("a"), job("b")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 1).await;
    bench.engine.pause().await.unwrap();
    bench.engine.pause().await.unwrap();
    assert!(bench.engine.status().await.unwrap().is_paused);
    assert!(bench.claim(node, 8).await.is_empty());
    bench.submit([job("c")]).await;
    bench.succeed(node, &claims).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.engine.resume().await.unwrap();
    assert!(!bench.engine.status().await.unwrap().is_paused);
    assert_eq!(bench.names(node, 8).await, ["b", "c"]);
    let kinds = bench.events().await.into_iter().map(|event| event.kind);
    let told: Vec<_> = kinds
        .filter(|kind| matches!(kind, EventKind::Paused | EventKind::Resumed))
        .collect();
    assert_eq!(told, [EventKind::Paused, EventKind::Resumed]);
}

async fn a_failed_job_waits_again_with_its_attempts_counted_anew(bench: Bench) {
    let failing = JobSpec {
        payload: b"input".as_slice().into(),
        crash_limit: 1,
        ..exclusive("a", "h")
    };
    bench.submit([failing, exclusive("b", "h")]).await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await.remove(0);
    bench.end(node, &first, again(0)).await;
    let second = bench.claim(node, 8).await.remove(0);
    bench.end(node, &second, over(FinalStatus::Failed)).await;
    assert_eq!(requeue(&bench, "a").await, Requeued::Waiting);
    let waits = Requeued::Unended(JobState::Waiting);
    assert_eq!(requeue(&bench, "a").await, waits);
    // It comes after those that waited meanwhile, and is what it was.
    let claims = bench.claim(node, 8).await;
    assert_eq!(claims[0].job.as_str(), "b");
    bench.succeed(node, &claims).await;
    let third = bench.claim(node, 8).await.remove(0);
    assert_eq!((third.job.as_str(), third.attempt), ("a", 1));
    assert_eq!(*third.payload, *b"input");
    assert!(third.fence > second.fence);
    // A node that is lost does not count with those before, so this is the first one.
    bench.pass(15_000);
    assert_eq!(requeue(&bench, "a").await, Requeued::Waiting);
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims).await;
    let ends: Vec<_> = (bench.ends().await.into_iter())
        .filter(|(name, ..)| name == "a")
        .map(|(_, status, attempts)| (status, attempts))
        .collect();
    let expected = [
        (FinalStatus::Failed, 2),
        (FinalStatus::Crashed, 1),
        (FinalStatus::Succeeded, 1),
    ];
    assert_eq!(ends, expected);
    // Its end is forgotten by the time of the last one.
    bench.pass(24 * 3_600_000 - 1);
    assert!(bench.state("a").await.is_some());
    bench.pass(1);
    assert_eq!(bench.state("a").await, None);
}

async fn a_job_is_requeued_with_what_it_needs(bench: Bench) {
    bench
        .submit([
            job("a"),
            needing("b", "a"),
            needing("c", "b"),
            needing("d", "a"),
        ])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.end(node, &claims[0], over(FinalStatus::Failed)).await;
    assert_eq!(requeue(&bench, "c").await, Requeued::Waiting);
    for job in ["a", "b", "c"] {
        assert_eq!(bench.state(job).await, Some(JobState::Waiting), "{job}");
    }
    // Nothing of it needs this one.
    let skipped = JobState::Ended(FinalStatus::Skipped);
    assert_eq!(bench.state("d").await, Some(skipped));
    for expected in ["a", "b", "c"] {
        let claims = bench.claim(node, 8).await;
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].job.as_str(), expected);
        bench.succeed(node, &claims).await;
    }
    assert_eq!(requeue(&bench, "d").await, Requeued::Waiting);
    assert_eq!(bench.names(node, 8).await, ["d"]);
}

async fn a_job_that_cannot_be_requeued_says_why(bench: Bench) {
    bench
        .submit([job("a"), job("b"), job("c"), needing("d", "c")])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims[..1]).await;
    assert_eq!(requeue(&bench, "a").await, Requeued::Succeeded);
    let runs = Requeued::Unended(JobState::Running);
    assert_eq!(requeue(&bench, "b").await, runs);
    assert_eq!(requeue(&bench, "nothing").await, Requeued::Unknown);
    bench.end(node, &claims[2], over(FinalStatus::Failed)).await;
    assert_eq!(purge(&bench, "c").await, Purged::Forgotten);
    let expected = Requeued::Refused(Refusal::UnknownNeed { need: name("c") });
    assert_eq!(requeue(&bench, "d").await, expected);
    bench
        .submit((0..999).map(|number| job(&format!("job{number}"))))
        .await;
    bench.end(node, &claims[1], over(FinalStatus::Failed)).await;
    bench.submit([job("last")]).await;
    assert_eq!(requeue(&bench, "b").await, Requeued::Full);
}

async fn jobs_that_would_need_each_other_are_not_requeued(bench: Bench) {
    bench.submit([job("a"), needing("b", "a")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims).await;
    let claims = bench.claim(node, 8).await;
    bench.end(node, &claims[0], over(FinalStatus::Failed)).await;
    purge(&bench, "a").await;
    bench.submit([needing("a", "b")]).await;
    let expected = Requeued::Refused(Refusal::CircularNeed { need: name("b") });
    assert_eq!(requeue(&bench, "b").await, expected);
    let skipped = JobState::Ended(FinalStatus::Skipped);
    assert_eq!(bench.state("a").await, Some(skipped));
}

async fn a_requeued_job_needs_its_rate_key(bench: Bench) {
    let rated = |name, requests_per_second| {
        let key = Some("api".to_owned());
        let burst = 1;
        hinted(
            name,
            ParallelizationHint::RateLimited {
                requests_per_second,
                burst,
                key,
            },
        )
    };
    bench.submit([rated("slow", 1.0)]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.end(node, &claims[0], over(FinalStatus::Failed)).await;
    bench.submit([rated("fast", 2.0)]).await;
    let expected = Requeued::Refused(Refusal::RateConflict { key: "api".into() });
    assert_eq!(requeue(&bench, "slow").await, expected);
    bench.pass(500);
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims).await;
    assert_eq!(requeue(&bench, "slow").await, Requeued::Waiting);
    // The token that was taken under the other rate is half of a second away under this one, and a second for another.
    bench.pass(999);
    assert!(bench.claim(node, 8).await.is_empty());
    bench.pass(1);
    assert_eq!(bench.names(node, 8).await, ["slow"]);
}

async fn a_purged_job_is_gone_with_its_result(bench: Bench) {
    bench.submit([job("a"), job("b")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 1).await;
    let end = AttemptEnd::Over {
        status: FinalStatus::Succeeded,
        result: b"secret".as_slice().into(),
    };
    bench.end(node, &claims[0], end).await;
    assert_eq!(purge(&bench, "a").await, Purged::Forgotten);
    assert_eq!(purge(&bench, "a").await, Purged::Unknown);
    let waits = Purged::Unended(JobState::Waiting);
    assert_eq!(purge(&bench, "b").await, waits);
    let claims = bench.claim(node, 1).await;
    let runs = Purged::Unended(JobState::Running);
    assert_eq!(purge(&bench, "b").await, runs);
    bench.succeed(node, &claims).await;
    assert_eq!(bench.state("a").await, None);
    assert_eq!(bench.engine.explain(&name("a")).await.unwrap(), None);
    let ends = bench.ends().await;
    assert_eq!(ends, [("b".to_owned(), FinalStatus::Succeeded, 1)]);
    // Its name is free again, and the moment at which its end would have been forgotten does not matter.
    bench.pass(3_600_000);
    bench.submit([job("a")]).await;
    bench.pass(23 * 3_600_000);
    assert_eq!(bench.state("a").await, Some(JobState::Waiting));
}

async fn a_name_that_is_used_again_has_nothing_of_its_first_job(bench: Bench) {
    bench
        .submit([job("a"), job("b"), needing("again", "a")])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.engine.cancel(&[name("again")]).await.unwrap();
    assert_eq!(purge(&bench, "again").await, Purged::Forgotten);
    bench.submit([needing("again", "b")]).await;
    bench.succeed(node, &claims[..1]).await;
    assert!(bench.claim(node, 8).await.is_empty());
    bench.succeed(node, &claims[1..]).await;
    assert_eq!(bench.names(node, 8).await, ["again"]);
}

async fn nodes_are_told_with_what_they_do(bench: Bench) {
    let spec = NodeSpec {
        tasks: Some(vec!["task".into(), "other".into()]),
        labels: vec!["zone=b".parse().unwrap(), "gpu".parse().unwrap()],
        ..NodeSpec::new("first", 4)
    };
    let first = bench.engine.join(&spec).await.unwrap().node;
    let second = bench.join(2).await;
    bench.submit([job("a"), job("b")]).await;
    let claims = bench.claim(first, 4).await;
    bench.pass(1000);
    bench.renew(first, &claims).await;
    bench.pass(250);
    let nodes = bench.engine.nodes().await.unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!((nodes[0].node, &nodes[0].spec), (first, &spec));
    assert_eq!((nodes[0].running, nodes[1].running), (2, 0));
    assert_eq!(nodes[0].renewed, Duration::from_millis(250));
    assert_eq!(nodes[1].renewed, Duration::from_millis(1250));
    assert_eq!((nodes[1].node, nodes[1].spec.slots), (second, 2));
    assert_eq!(nodes[1].spec.tasks, None);
}

async fn jobs_are_listed_by_name_a_page_at_a_time(bench: Bench) {
    let names = ["run/2", "run/10", "other", "run", "run/1", "run/ü", "runs"];
    bench.submit(names.map(job)).await;
    bench.engine.cancel(&[name("run/1")]).await.unwrap();
    let first = bench.engine.list("run/", None, 3).await.unwrap();
    let (waiting, cancelled) = (JobState::Waiting, JobState::Ended(FinalStatus::Cancelled));
    let expected = [
        (name("run/1"), cancelled),
        (name("run/10"), waiting),
        (name("run/2"), waiting),
    ];
    assert_eq!(first.jobs, expected);
    assert_eq!(first.next, Some(name("run/2")));
    let list = async |prefix: &'static str, after: Option<&str>| {
        let after = after.map(name);
        let page = bench.engine.list(prefix, after.as_ref(), 10).await.unwrap();
        assert_eq!(page.next, None);
        let names: Vec<_> = (page.jobs.into_iter())
            .map(|(name, _)| name.to_string())
            .collect();
        names
    };
    assert_eq!(list("run/", Some("run/2")).await, ["run/ü"]);
    assert_eq!(list("run/", Some("other")).await.len(), 4);
    assert_eq!(list("", Some("run/ü")).await, ["runs"]);
    assert!(list("z", None).await.is_empty());
    assert_eq!(purge(&bench, "run/1").await, Purged::Forgotten);
    assert_eq!(list("run/1", None).await, ["run/10"]);
}

async fn every_reason_to_wait_is_told(bench: Bench) {
    let rate = Limit::rate("2/s".parse().unwrap(), 1).unwrap();
    let declarations = [
        Declaration::Limit("db".into(), Limit::max(1).unwrap()),
        Declaration::Limit("api".into(), rate),
        Declaration::Resource("gpu".into(), Resource::count(3).unwrap()),
    ];
    bench.engine.declare(&declarations).await.unwrap();
    let global = |name| JobSpec {
        host: Some("h".into()),
        limits: vec!["api".into(), "db".into()],
        resources: vec![("gpu".into(), 2)],
        ..hinted(name, ParallelizationHint::GlobalExclusive)
    };
    let rated = |name| {
        let hint = ParallelizationHint::RateLimited {
            requests_per_second: 4.0,
            burst: 1,
            key: None,
        };
        hinted(name, hint)
    };
    bench
        .submit([global("first"), global("second"), global("third")])
        .await;
    bench.submit([rated("token"), rated("no token")]).await;
    bench
        .submit([hinted("alone", ParallelizationHint::Alone)])
        .await;
    let delayed = JobSpec {
        delay: Duration::from_secs(5),
        ..job("delayed")
    };
    bench.submit([delayed, needing("needing", "third")]).await;
    bench.submit([exclusive("nameless", "")]).await;
    let node = bench.join(8).await;
    let held = bench.claim(node, 8).await;
    bench.pass(100);

    let by = name("first");
    let left = Duration::from_millis(400);
    let expected = vec![
        WaitReason::Host {
            host: "h".into(),
            by: by.clone(),
        },
        WaitReason::Global { by },
        WaitReason::RateLimit {
            name: "api".into(),
            left,
        },
        WaitReason::Limit {
            name: "db".into(),
            running: 1,
            max: 1,
        },
        WaitReason::Resource {
            name: "gpu".into(),
            asked: 2,
            free: 1,
        },
    ];
    assert_eq!(reasons(&bench, "second").await, (expected.clone(), Some(0)));
    assert_eq!(reasons(&bench, "third").await, (expected, Some(1)));
    let token = WaitReason::RateKey {
        key: "task".into(),
        left: Duration::from_millis(150),
    };
    assert_eq!(reasons(&bench, "no token").await, (vec![token], Some(0)));
    let quiet = WaitReason::Quiet {
        running: held.len() as u64,
    };
    assert_eq!(reasons(&bench, "alone").await, (vec![quiet], Some(0)));
    let delay = WaitReason::Delay {
        left: Duration::from_millis(4900),
    };
    assert_eq!(reasons(&bench, "delayed").await, (vec![delay], None));
    let needs = WaitReason::Needs {
        jobs: vec![name("third")],
    };
    bench.engine.pause().await.unwrap();
    let expected = vec![WaitReason::Paused, needs];
    assert_eq!(reasons(&bench, "needing").await, (expected, None));
    bench.engine.resume().await.unwrap();

    // Nothing bars a job that waits for a slot.
    bench.submit([job("next")]).await;
    assert_eq!(reasons(&bench, "next").await, (vec![], Some(0)));
    bench.pass(1000);
    bench.succeed(node, &held).await;
    bench
        .engine
        .cancel(&["second", "third", "no token"].map(name))
        .await
        .unwrap();
    let alone = bench.claim(node, 8).await;
    assert_eq!(alone[0].job.as_str(), "alone");
    let alone = WaitReason::Alone { by: name("alone") };
    assert_eq!(reasons(&bench, "next").await, (vec![alone], Some(0)));
}

async fn a_job_that_no_node_can_do_says_what_they_lack(bench: Bench) {
    let labelled = JobSpec {
        labels: vec!["gpu".parse().unwrap(), "ssd".parse().unwrap()],
        ..job("labelled")
    };
    let wide = JobSpec {
        slots: 9,
        ..job("wide")
    };
    bench.submit([labelled, wide]).await;
    let lack = async |job| {
        let (reasons, ahead) = reasons(&bench, job).await;
        assert_eq!(ahead, Some(0));
        match <[WaitReason; 1]>::try_from(reasons) {
            Ok([WaitReason::NoNode { lack }]) => lack,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lack("wide").await, NodeLack::Nodes);
    let node = |tasks: &[&str], labels: &[&str], slots| NodeSpec {
        tasks: Some(tasks.iter().map(|task| (*task).into()).collect()),
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        ..NodeSpec::new("node", slots)
    };
    let other = node(&["other"], &["ssd"], 16);
    bench.engine.join(&other).await.unwrap();
    let task = NodeLack::Task {
        task: "task".into(),
    };
    assert_eq!(lack("wide").await, task);
    let gpu = node(&["task"], &["gpu"], 8);
    bench.engine.join(&gpu).await.unwrap();
    let slots = NodeLack::Slots { asked: 9, most: 8 };
    assert_eq!(lack("wide").await, slots);
    let labels = vec!["ssd".parse().unwrap()];
    assert_eq!(lack("labelled").await, NodeLack::Labels { labels });
    let both = node(&["task"], &["gpu", "ssd"], 16);
    bench.engine.join(&both).await.unwrap();
    assert_eq!(reasons(&bench, "labelled").await, (vec![], Some(0)));
}

async fn a_job_that_runs_or_has_ended_says_where_and_how(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    let running = |is_cancelled| ExplainedState::Running {
        node,
        name: "node".into(),
        is_cancelled,
    };
    let explanation = explain(&bench, "a").await;
    assert_eq!(
        (explanation.attempts, explanation.state),
        (1, running(false))
    );
    bench.engine.cancel(&[name("a")]).await.unwrap();
    assert_eq!(explain(&bench, "a").await.state, running(true));
    let end = AttemptEnd::Over {
        status: FinalStatus::Failed,
        result: b"why".as_slice().into(),
    };
    bench.end(node, &claims[0], end).await;
    let explanation = explain(&bench, "a").await;
    let ended = ExplainedState::Ended {
        status: FinalStatus::Failed,
        is_unservable: false,
        result: Some(b"why".as_slice().into()),
    };
    assert_eq!((explanation.attempts, explanation.state), (1, ended));
    assert_eq!(bench.engine.explain(&name("b")).await.unwrap(), None);
    let known = Submitted::Known(JobState::Ended(FinalStatus::Failed));
    assert_eq!(bench.try_submit(job("a")).await, known);
}
