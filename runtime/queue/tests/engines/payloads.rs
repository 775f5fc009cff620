//! Payloads and results: how large they may be, and that they arrive as they were.

use std::sync::Arc;

use ratchet_queue::{AttemptEnd, Error, EventKind, FinalStatus, FinishResult, JobSpec, JobState};

use crate::bench::{Bench, job, over};

crate::on_every_engine!(
    long_payloads_and_results_arrive_as_they_were,
    a_payload_that_is_too_large_is_refused_before_anything_is_sent,
    a_result_that_is_too_large_is_not_recorded,
);

/// Returns bytes that repeat, and so get shorter when they are compressed, or do not.
fn bytes(length: usize, repeats: bool) -> Arc<[u8]> {
    let mut state = 1_u32;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let bytes: Vec<u8> = random.take(if repeats { 64 } else { length }).collect();
    bytes.iter().copied().cycle().take(length).collect()
}

fn with_payload(name: &str, payload: &Arc<[u8]>) -> JobSpec {
    JobSpec {
        payload: Arc::clone(payload),
        ..job(name)
    }
}

fn success(result: &Arc<[u8]>) -> AttemptEnd {
    AttemptEnd::Over {
        status: FinalStatus::Succeeded,
        result: Arc::clone(result),
    }
}

async fn long_payloads_and_results_arrive_as_they_were(bench: Bench) {
    let node = bench.join(8).await;
    for (length, repeats) in [
        (0, true),
        (1, true),
        (1023, true),
        (1024, true),
        (100_000, true),
        (100_000, false),
    ] {
        let payload = bytes(length, repeats);
        let name = format!("{length} {repeats}");
        bench.submit([with_payload(&name, &payload)]).await;
        let claim = bench.claim(node, 1).await.remove(0);
        assert_eq!(claim.payload, payload, "{name}");
        bench.end(node, &claim, success(&payload)).await;
        let event = bench.events().await.pop().unwrap();
        match event.kind {
            EventKind::Ended { result, .. } => assert_eq!(result, payload, "{name}"),
            other => panic!("{other:?}"),
        }
    }
}

async fn a_payload_that_is_too_large_is_refused_before_anything_is_sent(bench: Bench) {
    let large = with_payload("large", &bytes(100_001, true));
    let refused = bench.engine.submit(&[job("small"), large]).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("100001 bytes, and the queue takes 100000"),
        "{text}"
    );
    assert_eq!(bench.state("small").await, None);
}

async fn a_result_that_is_too_large_is_not_recorded(bench: Bench) {
    bench.submit([job("a"), job("b")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    let ends: Vec<_> = (claims.iter().zip([100_001, 100_000]))
        .map(|(claim, length)| ratchet_queue::Finish {
            job: claim.job.clone(),
            fence: claim.fence,
            end: success(&bytes(length, true)),
        })
        .collect();
    let results = bench.engine.finish(node, &ends).await.unwrap();
    let expected = [
        FinishResult::TooLarge { most: 100_000 },
        FinishResult::Committed,
    ];
    assert_eq!(results, expected);
    assert_eq!(bench.state("a").await, Some(JobState::Running));
    let told = bench.end(node, &claims[0], over(FinalStatus::Failed)).await;
    assert_eq!(told, FinishResult::Committed);
}

#[cfg(feature = "redis")]
mod redis_only {
    use ratchet_queue::Cursor;

    use super::*;

    fn command(bench: &Bench, words: &[&str]) -> String {
        bench.server.as_ref().expect("a server").command(words)
    }

    /// Returns the key of the queue that ends like this.
    fn key(bench: &Bench, end: &str) -> String {
        let keys = command(bench, &["KEYS", &format!("*{end}")]);
        let mut lines = keys.lines();
        lines.find(|line| line.ends_with(end)).unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_is_long_takes_less_on_the_server() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        bench
            .submit([with_payload("a", &bytes(100_000, true))])
            .await;
        let length = command(&bench, &["HSTRLEN", &key(&bench, "j:a"), "p"]);
        let length: usize = length.lines().next().unwrap()[1..].parse().unwrap();
        assert!(length < 1000, "{length} bytes on the server");
    }

    #[tokio::test]
    async fn a_job_whose_payload_is_damaged_fails_alone() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        let payload = bytes(5000, true);
        bench
            .submit(["a", "b"].map(|name| with_payload(name, &payload)))
            .await;
        command(&bench, &["HSET", &key(&bench, "j:a"), "p", "\u{1}nonsense"]);
        let node = bench.join(8).await;
        assert_eq!(bench.names(node, 8).await, ["b"]);
        let failed = JobState::Ended(FinalStatus::Failed);
        assert_eq!(bench.state("a").await, Some(failed));
        let kinds = bench.events().await.into_iter().map(|event| event.kind);
        let results: Vec<_> = kinds
            .filter_map(|kind| match kind {
                EventKind::Ended { result, .. } => {
                    Some(String::from_utf8(result.to_vec()).unwrap())
                }
                _ => None,
            })
            .collect();
        assert_eq!(results.len(), 1);
        assert!(results[0].contains("damaged"), "{results:?}");
    }

    #[tokio::test]
    async fn a_damaged_result_is_told_with_its_job_and_can_be_purged() {
        let Some(bench) = Bench::redis().await else {
            return;
        };
        bench.submit([job("a"), job("b")]).await;
        let node = bench.join(8).await;
        let claims = bench.claim(node, 8).await;
        bench
            .end(node, &claims[0], success(&bytes(5000, true)))
            .await;
        // The last event is written over: it goes, the stream forgets that it was there, and one like it comes.
        let events = key(&bench, "events");
        let last = command(&bench, &["XREVRANGE", &events, "+", "-", "COUNT", "1"]);
        let place = last.lines().nth(3).unwrap();
        let (millis, number) = place.split_once('-').unwrap();
        let before = number.parse::<u64>().unwrap() - 1;
        command(&bench, &["XDEL", &events, place]);
        command(&bench, &["XSETID", &events, &format!("{millis}-{before}")]);
        let head = "E\u{1f}a\u{1f}succeeded\u{1f}1";
        let added = command(&bench, &["XADD", &events, place, head, "\u{1}nonsense"]);
        assert!(added.contains(place), "{added}");

        let error = bench.engine.events(Cursor::START, 100).await.unwrap_err();
        assert!(
            matches!(&error, Error::Damaged { job, .. } if job.as_str() == "a"),
            "{error:?}"
        );
        let explained = bench.engine.explain(&crate::bench::name("a")).await;
        assert!(
            matches!(explained, Err(Error::Damaged { .. })),
            "{explained:?}"
        );
        bench
            .engine
            .purge(&[crate::bench::name("a")])
            .await
            .unwrap();
        assert!(bench.engine.events(Cursor::START, 100).await.is_ok());
    }

    /// A claim, and a look at the events, move no more than a few megabytes at a time.
    #[tokio::test]
    async fn large_payloads_are_moved_a_few_at_a_time() {
        let Some(server) = crate::server::Server::start().await else {
            return;
        };
        let server = Arc::new(server);
        let settings = ratchet_queue::QueueSettings {
            max_payload: 2 << 20,
            ..crate::bench::settings()
        };
        let bench = Bench::redis_on(&server, settings).await;
        let payload = bytes(1 << 20, false);
        let jobs = (0..20).map(|number| with_payload(&format!("job{number}"), &payload));
        bench.submit(jobs).await;
        let node = bench.join(100).await;
        let mut done = 0;
        while done < 20 {
            let claims = bench.claim(node, 100).await;
            assert!((1..=5).contains(&claims.len()), "{}", claims.len());
            done += claims.len();
            for claim in &claims {
                bench.end(node, claim, success(&payload)).await;
            }
        }
        let (mut cursor, mut ends) = (Cursor::START, 0);
        loop {
            let events = bench.engine.events(cursor, 1000).await.unwrap();
            let Some(last) = events.last() else {
                break;
            };
            cursor = last.cursor;
            let results = events
                .iter()
                .filter(|event| matches!(event.kind, EventKind::Ended { .. }));
            let count = results.count();
            assert!(count <= 20, "{count}");
            ends += count;
        }
        assert_eq!(ends, 20);
    }
}
