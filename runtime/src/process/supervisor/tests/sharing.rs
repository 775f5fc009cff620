//! Several executors on one pool.

use std::time::Duration;

use ratchet_ipc::Capability;

use super::fake::{config, manager, pass};
use super::work::{assignment, next, tickets};
use crate::executor::crew::{Crew, Report};
use crate::executor::reporter::{Reporter, Reports};
use crate::process::{PoolConfig, Prefetch, ProcessPool};
use crate::scheduling::Kind;

const MOMENT: Duration = Duration::from_millis(1);

/// How many attempts the pool would like ahead, as it has said by now.
fn ahead(reports: &mut Reports) -> Option<u32> {
    let mut told = None;
    while let Ok(report) = reports.news.try_recv() {
        if let Report::Places { ahead, .. } = report {
            told = Some(ahead);
        }
    }
    told
}

#[tokio::test(start_paused = true)]
async fn no_slot_passes_from_one_executor_to_another() {
    let (manager, mut workers) = manager();
    let settings = PoolConfig {
        prefetch: Prefetch::Fixed(2),
        ..config()
    };
    let pool = ProcessPool::new(manager, settings).await.unwrap();
    let mut worker = workers.recv().await.unwrap();
    worker.hello(&[Capability::Cancel]).await;
    pass(MOMENT).await;
    let (mine, mut my_reports) = Reporter::new();
    let (theirs, mut their_reports) = Reporter::new();
    let mut my_crew = pool.crew(Kind(1), mine);
    pass(MOMENT).await;
    assert_eq!(ahead(&mut my_reports), Some(2));

    let tickets = tickets(1);
    my_crew.start(assignment(tickets[0], false));
    let request = worker.request().await;
    let mut their_crew = pool.crew(Kind(1), theirs);
    pass(MOMENT).await;
    assert_eq!(ahead(&mut my_reports), Some(0));
    assert_eq!(ahead(&mut their_reports), Some(0));
    their_crew.start(assignment(tickets[0], true));
    let back = next(&mut their_reports).await;
    assert!(matches!(back, Report::Returned { .. }), "{back:?}");

    // Nor does it from one that is gone.
    drop(my_crew);
    pass(MOMENT).await;
    their_crew.start(assignment(tickets[0], true));
    let back = next(&mut their_reports).await;
    assert!(matches!(back, Report::Returned { .. }), "{back:?}");
    worker.answer(&request).await;
    pass(MOMENT).await;
    assert_eq!(ahead(&mut their_reports), Some(2));
}
