//! Sessions of nodes: what they can do, how they are lost, and what becomes of their claims.

use std::time::Duration;

use ratchet_queue::{
    Error, EventKind, ExplainedState, FinalStatus, FinishResult, JobSpec, JobState, NodeId,
    NodeSpec, Renewal,
};

use crate::bench::{Bench, SESSION, exclusive, job, over};

crate::on_every_engine!(
    a_node_gets_what_it_can_do,
    a_lost_node_gives_its_claims_to_others,
    a_session_that_is_renewed_goes_on,
    a_lost_node_is_told_so,
    a_job_that_loses_nodes_crashes,
    a_node_that_leaves_gives_back_what_it_holds,
    a_claim_whose_answer_was_lost_goes_back,
    jobs_keep_their_turn_while_nobody_can_do_them,
    status_counts_jobs_and_nodes,
    a_job_that_no_node_can_do_fails_after_the_time_that_it_may_wait,
    the_wait_for_a_node_begins_when_nothing_else_is_missing,
);

async fn a_node_gets_what_it_can_do(bench: Bench) {
    let gpu = JobSpec {
        labels: vec!["gpu".parse().unwrap()],
        ..job("gpu")
    };
    let other = JobSpec {
        task: "resize".into(),
        ..job("resize")
    };
    let wide = JobSpec {
        slots: 5,
        ..job("wide")
    };
    bench.submit([gpu, other, wide, job("plain")]).await;
    let with = |tasks: Option<&[&str]>, labels: &[&str], slots| NodeSpec {
        tasks: tasks.map(|tasks| tasks.iter().map(|task| (*task).into()).collect()),
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        ..NodeSpec::new("node", slots)
    };
    let join = async |spec| bench.engine.join(&spec).await.unwrap().node;
    let resizer = join(with(Some(&["resize"]), &[], 8)).await;
    assert_eq!(bench.names(resizer, 8).await, ["resize"]);
    let labelled = join(with(Some(&["task"]), &["ssd", "gpu"], 4)).await;
    assert_eq!(bench.names(labelled, 4).await, ["gpu", "plain"]);
    assert_eq!(
        bench.names(join(with(None, &[], 8)).await, 8).await,
        ["wide"]
    );
}

async fn a_lost_node_gives_its_claims_to_others(bench: Bench) {
    bench
        .submit([exclusive("a", "h"), exclusive("b", "h")])
        .await;
    let (dead, living) = (bench.join(8).await, bench.join(8).await);
    let old = bench.claim(dead, 8).await;
    bench.pass(10_000);
    bench.renew(living, &[]).await;
    bench.pass(4_999);
    assert!(bench.claim(living, 8).await.is_empty());
    bench.pass(1);
    let new = bench.claim(living, 8).await;
    assert_eq!((new[0].job.as_str(), new[0].attempt), ("a", 2));
    assert!(new[0].fence > old[0].fence);
    let stale = bench.end(dead, &old[0], over(FinalStatus::Failed)).await;
    assert_eq!(stale, FinishResult::Stale);
    bench.succeed(living, &new).await;
    let kinds: Vec<_> = (bench.events().await.into_iter())
        .map(|event| event.kind)
        .collect();
    assert!(
        kinds.contains(&EventKind::NodeLost { node: dead }),
        "{kinds:?}"
    );
}

async fn a_session_that_is_renewed_goes_on(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    for _ in 0..10 {
        bench.pass(14_000);
        let expected = Renewal::Valid {
            valid_for: SESSION,
            cancelled: vec![],
        };
        assert_eq!(bench.renew(node, &claims).await, expected);
    }
    bench.succeed(node, &claims).await;
}

async fn a_lost_node_is_told_so(bench: Bench) {
    let node = bench.join(8).await;
    bench.pass(15_000);
    assert_eq!(bench.renew(node, &[]).await, Renewal::Lost);
    let claim = bench.engine.claim(node, 8, 8).await;
    assert!(matches!(claim, Err(Error::NodeLost { .. })), "{claim:?}");
    // Leaving twice is no error.
    bench.engine.leave(node).await.unwrap();
    assert_ne!(bench.join(8).await, node);
}

async fn a_job_that_loses_nodes_crashes(bench: Bench) {
    let killer = JobSpec {
        crash_limit: 2,
        ..job("killer")
    };
    bench.submit([killer]).await;
    for attempt in 1..=2 {
        let node = bench.join(8).await;
        assert_eq!(bench.claim(node, 8).await[0].attempt, attempt);
        bench.pass(15_000);
    }
    let crashed = JobState::Ended(FinalStatus::Crashed);
    assert_eq!(bench.state("killer").await, Some(crashed));
    assert_eq!(
        bench.ends().await,
        [("killer".to_owned(), FinalStatus::Crashed, 2)]
    );
}

async fn a_node_that_leaves_gives_back_what_it_holds(bench: Bench) {
    bench.submit([exclusive("a", "h")]).await;
    let node = bench.join(8).await;
    let old = bench.claim(node, 8).await;
    bench.engine.leave(node).await.unwrap();
    let other = bench.join(8).await;
    let new = bench.claim(other, 8).await;
    assert_eq!(new[0].attempt, 1);
    let stale = bench.end(node, &old[0], over(FinalStatus::Failed)).await;
    assert_eq!(stale, FinishResult::Stale);
}

async fn a_claim_whose_answer_was_lost_goes_back(bench: Bench) {
    bench.submit([exclusive("a", "h"), job("b")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    // The node has heard of one of them only.
    let renewal = bench.renew(node, &claims[1..]).await;
    assert!(matches!(renewal, Renewal::Valid { .. }), "{renewal:?}");
    let again = bench.claim(node, 8).await;
    assert_eq!((again[0].job.as_str(), again[0].attempt), ("a", 1));
    assert_eq!(again.len(), 1);
}

async fn jobs_keep_their_turn_while_nobody_can_do_them(bench: Bench) {
    let labelled = |name| JobSpec {
        labels: vec!["gpu".parse().unwrap()],
        ..exclusive(name, "h")
    };
    bench
        .submit([
            labelled("first"),
            exclusive("second", "h"),
            labelled("third"),
        ])
        .await;
    let able = NodeSpec {
        labels: vec!["gpu".parse().unwrap()],
        ..NodeSpec::new("able", 8)
    };
    // The first node that can do them comes and goes.
    let node = bench.engine.join(&able).await.unwrap().node;
    bench.engine.leave(node).await.unwrap();
    bench.pass(1000);
    let node = bench.engine.join(&able).await.unwrap().node;
    for expected in ["first", "second", "third"] {
        let claims = bench.claim(node, 8).await;
        assert_eq!(claims[0].job.as_str(), expected);
        bench.succeed(node, &claims).await;
    }
}

async fn status_counts_jobs_and_nodes(bench: Bench) {
    let needing = JobSpec {
        needs: vec![crate::bench::name("a")],
        ..job("c")
    };
    let delayed = JobSpec {
        delay: Duration::from_secs(5),
        ..job("d")
    };
    bench.submit([job("a"), job("b"), needing, delayed]).await;
    let node = bench.join(8).await;
    bench.join(8).await;
    let claims = bench.claim(node, 1).await;
    let status = bench.engine.status().await.unwrap();
    assert_eq!((status.waiting, status.running, status.nodes), (3, 1, 2));
    bench.succeed(node, &claims).await;
    let status = bench.engine.status().await.unwrap();
    assert_eq!((status.waiting, status.running, status.nodes), (3, 0, 2));
}

/// Returns a job that waits for a node with a label for five seconds.
fn impatient(name: &str) -> JobSpec {
    JobSpec {
        labels: vec!["gpu".parse().unwrap()],
        unservable_after: Some(Duration::from_secs(5)),
        ..job(name)
    }
}

async fn join_able(bench: &Bench) -> NodeId {
    let able = NodeSpec {
        labels: vec!["gpu".parse().unwrap()],
        ..NodeSpec::new("able", 8)
    };
    bench.engine.join(&able).await.unwrap().node
}

async fn a_job_that_no_node_can_do_fails_after_the_time_that_it_may_wait(bench: Bench) {
    let needing = JobSpec {
        needs: vec![crate::bench::name("late")],
        ..job("needing")
    };
    bench.join(8).await;
    bench.submit([impatient("early")]).await;
    bench.pass(4_999);
    // A node that can do it comes and goes, and the time begins anew.
    let able = join_able(&bench).await;
    bench.pass(1);
    bench.engine.leave(able).await.unwrap();
    bench.pass(3000);
    bench.submit([impatient("late"), needing]).await;
    bench.pass(1_999);
    assert_eq!(bench.state("early").await, Some(JobState::Waiting));
    bench.pass(1);
    let failed = JobState::Ended(FinalStatus::Failed);
    assert_eq!(bench.state("early").await, Some(failed));
    assert_eq!(bench.state("late").await, Some(JobState::Waiting));
    bench.pass(3000);
    assert_eq!(bench.state("late").await, Some(failed));
    let skipped = JobState::Ended(FinalStatus::Skipped);
    assert_eq!(bench.state("needing").await, Some(skipped));

    let name = crate::bench::name;
    let explained = bench.engine.explain(&name("early")).await.unwrap();
    let expected = ExplainedState::Ended {
        status: FinalStatus::Failed,
        is_unservable: true,
        result: Some([].into()),
    };
    assert_eq!(explained.unwrap().state, expected);
    let kinds = bench.events().await.into_iter().map(|event| event.kind);
    let told: Vec<_> = kinds
        .filter_map(|kind| match kind {
            EventKind::Unservable { job } => Some(job),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["early", "late"].map(name));

    // Asked for again, it runs as any other, and its earlier end is not told of it.
    join_able(&bench).await;
    bench.engine.requeue(&[name("early")]).await.unwrap();
    let able = join_able(&bench).await;
    let claims = bench.claim(able, 8).await;
    bench.end(able, &claims[0], over(FinalStatus::Failed)).await;
    let explained = bench.engine.explain(&name("early")).await.unwrap();
    let is_unservable = match explained.unwrap().state {
        ExplainedState::Ended { is_unservable, .. } => is_unservable,
        other => panic!("{other:?}"),
    };
    assert!(!is_unservable);
}

async fn the_wait_for_a_node_begins_when_nothing_else_is_missing(bench: Bench) {
    let delayed = JobSpec {
        delay: Duration::from_secs(8),
        ..impatient("delayed")
    };
    let needing = JobSpec {
        needs: vec![crate::bench::name("a")],
        ..impatient("needing")
    };
    bench.submit([job("a"), delayed, needing]).await;
    let node = bench.join(1).await;
    let claims = bench.claim(node, 1).await;
    bench.pass(7_000);
    bench.succeed(node, &claims).await;
    bench.pass(4_999);
    assert_eq!(bench.state("needing").await, Some(JobState::Waiting));
    // Nobody has asked for anything since the delay of the other one was over.
    bench.pass(1_001);
    let failed = JobState::Ended(FinalStatus::Failed);
    assert_eq!(bench.state("needing").await, Some(failed));
    assert_eq!(bench.state("delayed").await, Some(failed));
    let ends = bench.ends().await;
    let names: Vec<&str> = ends.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["a", "needing", "delayed"]);
}
