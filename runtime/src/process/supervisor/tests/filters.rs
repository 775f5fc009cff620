//! Filters: answers that are held until they are confirmed, and programs that buffer.

use std::time::Duration;

use ratchet_ipc::LineFormat;
use tokio::sync::mpsc;

use super::fake::{FakeWorker, config, job, manager, pass, submit};
use super::run_side::{RunSide, tickets};
use crate::dispatch::{Demand, FilterChange, Offer, Report};
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::os::Exit;
use crate::outcome::Class;
use crate::process::{PoolConfig, Prefetch, ProcessPool, ProcessSupervisor, WorkerProtocol};

const MOMENT: Duration = Duration::from_millis(1);
const QUIET: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// A pool with one filter. The test plays both the run and the filter.
struct Scene {
    pool: ProcessPool,
    filter: FakeWorker,
    later: mpsc::UnboundedReceiver<FakeWorker>,
    run: RunSide,
    offer: Offer,
    tickets: Vec<Ticket>,
}

fn filters() -> PoolConfig {
    PoolConfig {
        language: WorkerProtocol::Lines {
            input: LineFormat::Text,
            output: LineFormat::Text,
        },
        ..config()
    }
}

impl Scene {
    async fn new(config: PoolConfig) -> Self {
        let (manager, mut later) = manager();
        let supervisor = ProcessSupervisor::start(manager);
        let pool = supervisor.add(config).await.unwrap();
        let filter = later.recv().await.unwrap();
        pass(MOMENT).await;
        let mut run = RunSide::attach(&pool).unwrap();
        let offer = run.offered().await;
        Self {
            pool,
            filter,
            later,
            run,
            offer,
            tickets: tickets(40),
        }
    }

    fn start(&mut self, number: usize, ahead: bool) {
        let job = job(&number.to_string());
        self.run
            .perform_job(&self.offer, self.tickets[number], job, ahead);
    }

    /// Makes the filter answer its next line correctly.
    async fn answer(&mut self) {
        let line = self.filter.line().await.unwrap();
        self.filter.print(&line).await;
        pass(MOMENT).await;
    }

    /// Waits for the next report about attempts, and describes it in words.
    async fn next(&mut self) -> String {
        loop {
            let report = self.run.reports.reports.recv().await.unwrap();
            if self.run.notes(&report) {
                continue;
            }
            let number =
                |ticket: Ticket| self.tickets.iter().position(|one| *one == ticket).unwrap();
            return match report {
                Report::Ended {
                    ticket,
                    result,
                    provisional,
                    ..
                } => {
                    let how = result.map_or_else(
                        |failure| failure.class.to_string(),
                        |payload| payload.to_string(),
                    );
                    let held = if provisional { ", held" } else { "" };
                    format!("{} ended: {how}{held}", number(ticket))
                }
                Report::Confirmed { ticket, in_doubt } => {
                    let doubt = if in_doubt { ", in doubt" } else { "" };
                    format!("{} confirmed{doubt}", number(ticket))
                }
                Report::Refuted { ticket, failure } => {
                    format!("{} refuted: {}", number(ticket), failure.class)
                }
                Report::Returned { ticket, .. } => format!("{} returned", number(ticket)),
                Report::Cleared { .. } => "cleared".to_owned(),
                Report::OutOfStep { worker, .. } => {
                    assert_eq!(worker, WorkerName::new("echo", 1));
                    "out of step".to_owned()
                }
                _ => continue,
            };
        }
    }

    async fn hears(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected);
        }
    }

    /// Waits for the next report of how many items may be sent ahead, and returns it.
    async fn ahead(&mut self) -> u32 {
        loop {
            let report = self.run.reports.reports.recv().await.unwrap();
            if let Report::Filter {
                change: FilterChange::Silent { ahead },
                ..
            } = report
            {
                return ahead;
            }
            assert!(self.run.notes(&report), "{report:?}");
        }
    }

    /// Makes the filter answer a first item, and waits until the answer is confirmed.
    async fn prove(&mut self) {
        self.start(0, false);
        self.answer().await;
        self.hears(&["0 ended: \"0\", held"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_filter_is_asked_a_second_time_only_after_a_moment_of_quiet() {
    let config = PoolConfig {
        prefetch: Prefetch::Fixed(2),
        ..filters()
    };
    let mut scene = Scene::new(config).await;
    scene.start(0, false);
    scene.answer().await;
    // The seat of the filter is not free before that, so nothing is sent to it.
    let early = tokio::time::timeout(QUIET / 2, scene.next()).await;
    assert!(early.is_err(), "{early:?}");
    scene.hears(&["0 ended: \"0\", held"]).await;
    // From now on items may be sent ahead.
    scene.start(1, false);
    scene.start(2, true);
    for number in ["1", "2"] {
        assert_eq!(scene.filter.line().await.as_deref(), Some(number));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_held_until_the_next_one_and_its_place_is_free_meanwhile() {
    let mut scene = Scene::new(filters()).await;
    scene.prove().await;
    for (number, before) in [(1, "0 confirmed"), (2, "1 confirmed, in doubt")] {
        scene.start(number, false);
        scene.answer().await;
        let ended = format!("{number} ended: \"{number}\", held");
        scene.hears(&[before, &ended]).await;
    }
    // After a moment of quiet with nothing asked, the count of lines surely matches.
    scene.hears(&["2 confirmed, in doubt", "cleared"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_moment_of_quiet_of_a_busy_filter_confirms_its_last_answer_and_no_earlier_ones() {
    let config = PoolConfig {
        prefetch: Prefetch::Fixed(2),
        ..filters()
    };
    let mut scene = Scene::new(config).await;
    scene.prove().await;
    scene.start(1, false);
    scene.start(2, true);
    scene.answer().await;
    scene.hears(&["0 confirmed", "1 ended: \"1\", held"]).await;
    scene.hears(&["1 confirmed, in doubt"]).await;
    pass(SECOND).await;
    scene.answer().await;
    scene.hears(&["2 ended: \"2\", held"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_answers_no_item_refutes_the_held_answer_and_puts_earlier_ones_in_doubt() {
    let mut scene = Scene::new(filters()).await;
    scene.prove().await;
    for number in [1, 2] {
        scene.start(number, false);
        scene.answer().await;
        while scene.next().await != format!("{number} ended: \"{number}\", held") {}
    }
    scene.filter.print("2").await;
    scene.hears(&["2 refuted: protocol", "out of step"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_line_for_the_first_item_fails_the_item_before_a_result_is_delivered() {
    let mut scene = Scene::new(filters()).await;
    scene.start(0, false);
    scene.answer().await;
    scene.filter.print("0").await;
    scene.hears(&["0 ended: protocol"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_speaks_before_its_first_item_is_out_of_step_at_once() {
    let mut scene = Scene::new(filters()).await;
    scene.filter.print("welcome").await;
    pass(MOMENT).await;
    scene.filter.hang().await;
    let metrics = scene.pool.metrics().await.unwrap();
    assert_eq!(
        metrics.failures.into_iter().collect::<Vec<_>>(),
        [("surplus", 1)]
    );
    assert!(scene.later.recv().await.is_some(), "another one is tried");
}

#[tokio::test(start_paused = true)]
async fn a_banner_that_was_announced_is_passed_over() {
    let config = PoolConfig {
        skip_lines: 2,
        ..filters()
    };
    let mut scene = Scene::new(config).await;
    scene.filter.print("welcome").await;
    scene.start(0, false);
    scene.filter.print("").await;
    scene.answer().await;
    scene.hears(&["0 ended: \"0\", held"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_held_until_the_end_of_the_output() {
    for extra in [false, true] {
        let mut scene = Scene::new(filters()).await;
        scene.prove().await;
        scene.start(1, false);
        scene.answer().await;
        scene.hears(&["0 confirmed", "1 ended: \"1\", held"]).await;
        scene.run.demand(Demand::Over);
        assert_eq!(scene.filter.line().await, None, "its input ends");
        // Quiet has no meaning any more.
        pass(QUIET * 10).await;
        if extra {
            scene.filter.print("and one more").await;
        }
        pass(MOMENT).await;
        let filter = std::mem::replace(&mut scene.filter, placeholder_filter().await);
        filter.die(Exit::Code(0));
        if extra {
            scene.hears(&["1 refuted: protocol", "out of step"]).await;
        } else {
            scene.hears(&["1 confirmed, in doubt", "cleared"]).await;
        }
    }
}

/// Makes a worker of another pool, to take the place of a filter that a test ends.
async fn placeholder_filter() -> FakeWorker {
    let (manager, mut workers) = manager();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor.add(filters()).await.unwrap();
    let filter = workers.recv().await.unwrap();
    drop(pool);
    filter
}

#[tokio::test(start_paused = true)]
async fn a_silent_filter_is_sent_twice_as_many_ahead_each_second_until_its_input_ends() {
    let mut scene = Scene::new(filters()).await;
    scene.start(0, false);
    let begun = tokio::time::Instant::now();
    for (second, ahead) in [(2, 1), (3, 3), (4, 7)] {
        assert_eq!(scene.ahead().await, ahead);
        assert_eq!(begun.elapsed().as_secs(), second);
    }
    for number in 1..8 {
        scene.start(number, true);
    }
    for number in 0..8 {
        assert_eq!(scene.filter.line().await, Some(number.to_string()));
    }
    scene.run.demand(Demand::Last);
    assert_eq!(scene.filter.line().await, None, "its input ends");
    for number in 0..8 {
        scene.filter.print(&number.to_string()).await;
    }
    pass(MOMENT).await;
    let filter = std::mem::replace(&mut scene.filter, placeholder_filter().await);
    filter.die(Exit::Code(0));
    for number in 0..7 {
        scene
            .hears(&[
                &format!("{number} ended: \"{number}\", held"),
                &format!("{number} confirmed, in doubt"),
            ])
            .await;
    }
    // The end of the output confirms that each item was answered once.
    scene.hears(&["cleared", "7 ended: \"7\""]).await;
}

#[tokio::test(start_paused = true)]
async fn the_input_of_a_filter_that_leaves_out_a_line_is_closed_although_items_are_left() {
    let mut scene = Scene::new(filters()).await;
    scene.prove().await;
    scene.start(1, false);
    assert_eq!(scene.filter.line().await, Some("1".to_owned()));
    let begun = tokio::time::Instant::now();
    assert_eq!(scene.filter.line().await, None, "its input ends");
    assert_eq!(begun.elapsed().as_secs(), 10);
    let filter = std::mem::replace(&mut scene.filter, placeholder_filter().await);
    filter.die(Exit::Code(0));
    let limit = tokio::time::timeout(SECOND * 60, async {
        while scene.next().await != "1 ended: protocol" {}
        scene.run.demand(Demand::Open { unseated: 1 });
        scene.later.recv().await
    });
    let next = limit.await.expect("its item fails and another one starts");
    assert!(next.is_some(), "another one takes the rest");
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_answers_too_little_after_its_input_has_ended_fails_all_jobs_that_are_left() {
    let mut scene = Scene::new(filters()).await;
    scene.start(0, false);
    while scene.ahead().await < 3 {}
    for number in 1..4 {
        scene.start(number, true);
    }
    scene.run.demand(Demand::Last);
    while scene.filter.line().await.is_some() {}
    for line in ["0", "1"] {
        scene.filter.print(line).await;
    }
    pass(MOMENT).await;
    scene
        .hears(&[
            "0 ended: \"0\", held",
            "0 confirmed, in doubt",
            "1 ended: \"1\", held",
        ])
        .await;
    let filter = std::mem::replace(&mut scene.filter, placeholder_filter().await);
    filter.die(Exit::Code(0));
    scene
        .hears(&[
            "1 refuted: protocol",
            "out of step",
            "2 ended: protocol",
            "3 ended: protocol",
        ])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_the_answer_of_a_filter_once_it_is_confirmed() {
    let (manager, mut workers) = manager();
    let supervisor = ProcessSupervisor::start(manager);
    let pool = supervisor.add(filters()).await.unwrap();
    let mut filter = workers.recv().await.unwrap();
    for surplus in [false, true] {
        let reply = submit(&pool, job("a"));
        assert_eq!(filter.line().await.as_deref(), Some("a"));
        filter.print("A").await;
        pass(MOMENT).await;
        assert!(!reply.is_finished());
        if surplus {
            filter.print("B").await;
        }
        let reply = reply.await.unwrap();
        match reply.result {
            Ok(payload) => assert!(!surplus && payload.as_str() == "\"A\""),
            Err(failure) => assert!(surplus && failure.class == Class::Protocol, "{failure}"),
        }
    }
}
