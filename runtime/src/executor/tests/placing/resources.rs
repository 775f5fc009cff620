//! Tests of the resources that places have for themselves.

use super::*;
use crate::job::ResourceNeed;
use crate::scheduling::{Ageing, Resource};

#[tokio::test(start_paused = true)]
async fn waiting_for_a_resource_that_places_have_is_charged_to_it() {
    let sleeper = Sleeper::default();
    let (web1, _tell) = place("web1", ready(4));
    let executor = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .place(web1.resource("gpu", Resource::count(2).unwrap()))
        .build()
        .unwrap();
    let taking = |id: &str, seconds, units| {
        let on = among(&["web1"]);
        let resources = match units {
            0 => Vec::new(),
            _ => vec![ResourceNeed::new("gpu", units)],
        };
        command(id, seconds, on.clone()).terms(Terms {
            resources,
            on,
            ..Terms::default()
        })
    };
    let jobs = [
        taking("a", 5, 2),
        taking("b", 2, 1),
        taking("c", 3, 0),
        taking("d", 9, 0),
        taking("e", 9, 0),
        taking("f", 1, 0),
    ];
    let outcomes = executor.run_all(jobs).await.unwrap();
    let waits = |at: usize| {
        let waits = outcomes[at].waits.iter();
        let waits = waits.filter(|(_, time)| !time.is_zero());
        waits
            .map(|(blocker, time)| format!("{} {time:?}", blocker.word()))
            .collect::<Vec<_>>()
    };
    assert_eq!(waits(1), ["resource:gpu 5s"]);
    assert_eq!(waits(5), ["slot 3s"]);
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_place_are_used_while_others_wait_for_its_resource() {
    let sleeper = Sleeper::default();
    let (web1, _tell) = place("web1", ready(2));
    let executor = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .ageing(Ageing { step: SECOND / 10 })
        .place(web1.resource("gpu", Resource::count(1).unwrap()))
        .build()
        .unwrap();
    let on = || among(&["web1"]);
    let trains = (0..3).map(|id| {
        command(&format!("train{id}"), 5, on()).terms(Terms {
            on: on(),
            resources: vec![ResourceNeed::new("gpu", 1)],
            ..Terms::default()
        })
    });
    let others = (0..5).map(|id| command(&format!("other{id}"), 1, on()));
    let start = tokio::time::Instant::now();
    executor.run_all(trains.chain(others)).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 15);
    let ran = sleeper.ran();
    let others = ran.iter().filter(|one| one.id.starts_with("other"));
    let last = others.map(|one| one.ended - start).max();
    assert_eq!(last, Some(SECOND * 5), "beside the first that trains");
}
