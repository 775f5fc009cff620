//! Tests of results that are used again at places of several platforms.

use ratchet_caching::{MemoryCache, TaskCache};

use super::*;
use crate::job::CacheTerms;

/// Makes a [`command`] whose result is cached.
fn cached(id: &str, on: Placement) -> Job {
    let job = command(id, 1, on);
    let terms = Terms {
        cache: Some(CacheTerms::On {
            inputs: Vec::new(),
            env: Vec::new(),
            ttl: None,
        }),
        ..(*job.terms).clone()
    };
    job.terms(terms)
}

/// Makes a place that reports its platform.
fn place_of_platform(
    name: &str,
    state: PlaceState,
    platform: Option<&str>,
) -> (Place, Tell, watch::Sender<Option<Arc<str>>>) {
    let (place, tell) = place(name, state);
    let (tell_platform, platform) = watch::channel(platform.map(Arc::from));
    (place.platform(platform), tell, tell_platform)
}

fn over(cache: &TaskCache, sleeper: &Sleeper, places: impl IntoIterator<Item = Place>) -> Executor {
    let builder = Executor::builder()
        .slots(1)
        .command_runner(sleeper.clone())
        .cache(cache.clone());
    let builder = places.into_iter().fold(builder, ExecutorBuilder::place);
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_result_is_used_again_only_for_the_platform_on_which_it_was_made() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    let (vax, tell, tell_platform) = place_of_platform("web1", PlaceState::Away, None);
    let run = over(&cache, &sleeper, [vax]);
    let run = run
        .run_list(vec![cached("there", among(&["web1"]))])
        .unwrap();
    // No platform is known yet, so there is no key to ask the cache for.
    tokio::time::sleep(SECOND * 10).await;
    tell_platform.send_replace(Some("vms-vax".into()));
    tell.send_replace(ready(1));
    assert!(!all(run).await[0].cached);

    let own = crate::remote::AgentInfo::own_platform();
    for (platform, is_cached) in [("vms-vax", true), (own.as_str(), false), ("vms-vax", true)] {
        let (place, _tell, _platform) = place_of_platform("web2", ready(1), Some(platform));
        let job = cached("again", among(&["web2"]));
        let outcomes = over(&cache, &sleeper, [place])
            .run_all([job])
            .await
            .unwrap();
        assert_eq!(outcomes[0].cached, is_cached, "{platform}");
    }
    let job = cached("here", Placement::Here);
    let outcomes = over(&cache, &sleeper, []).run_all([job]).await.unwrap();
    assert!(
        outcomes[0].cached,
        "it was made on a host like this machine"
    );
    assert_eq!(sleeper.ran().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_another_platform_than_was_expected_is_not_kept() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    for _ in 0..2 {
        // The place was reached before, and is away now.
        let (web1, _tell1, _platform1) =
            place_of_platform("web1", PlaceState::Away, Some("vms-vax"));
        let (web2, tell2, tell_platform) = place_of_platform("web2", PlaceState::Away, None);
        let run = over(&cache, &sleeper, [web1, web2]);
        let job = cached("a", among(&["web1", "web2"]));
        let run = run.run_list(vec![job]).unwrap();
        tokio::time::sleep(SECOND).await;
        tell_platform.send_replace(Some("plan9-mips".into()));
        tell2.send_replace(ready(1));
        let outcomes = all(run).await;
        assert!(outcomes[0].is_success() && !outcomes[0].cached);
    }
    assert_eq!(sleeper.ran().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_a_place_of_an_unknown_platform_is_not_kept() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let sleeper = Sleeper::default();
    for _ in 0..2 {
        let (bare, _tell) = place("bare", ready(1));
        let job = cached("a", among(&["bare"]));
        let outcomes = over(&cache, &sleeper, [bare]).run_all([job]).await.unwrap();
        assert!(!outcomes[0].cached);
    }
    assert_eq!(sleeper.ran().len(), 2);
}
