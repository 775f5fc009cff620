use std::path::Path;
use std::sync::Arc;

use ratchet_caching::{CacheError, ManualClock, MemoryCache, TaskCache};
use ratchet_runtime::process::{EarlierOutput, ProcessConfig, ProgramInput};
use ratchet_runtime::{CacheTerms, Executor, Job, Payload, Terms};

use super::explain::{Reusability, render, reusability};
use super::*;

/// Returns the time at which all results of these tests are stored.
fn stored() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn cached(ttl: Option<Duration>) -> Terms {
    Terms {
        cache: Some(CacheTerms::On {
            inputs: vec!["input.txt".into()],
            env: vec!["COLOUR".to_owned()],
            ttl,
        }),
        ..Terms::default()
    }
}

/// Makes the work of a job that runs a command in a folder.
fn command(folder: &Path, colour: &str) -> ProcessConfig {
    let mut process = ProcessConfig::new("cat").args(["input.txt"]);
    process.working_dir = Some(folder.to_owned());
    process.env = process.env.set("COLOUR", colour);
    process
}

/// Runs a job, so that its result is kept.
async fn keep(cache: &TaskCache, job: Job) {
    let executor = Executor::builder().cache(cache.clone()).build().unwrap();
    let outcomes = executor.run_all([job]).await.unwrap();
    assert!(outcomes[0].is_success(), "{outcomes:?}");
}

#[tokio::test]
async fn what_the_executor_keeps_is_what_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.txt");
    std::fs::write(&input, "one").unwrap();
    let clock = Arc::new(ManualClock::at(stored()));
    let store = Arc::new(MemoryCache::new(1 << 20).clock(Arc::clone(&clock) as Arc<dyn Clock>));
    let cache = TaskCache::with_clock(store, Arc::clone(&clock) as Arc<dyn Clock>);
    let day = Duration::from_hours(24);
    let job =
        |colour: &str, ttl| Job::command("a", command(folder.path(), colour)).terms(cached(ttl));
    let explain = async |job: &Job| {
        let found = reusability(job, None, &cache).await.unwrap();
        render(job, &found, Some(stored() + Duration::from_mins(5)))
    };
    let red = job("red", None);
    assert_eq!(
        explain(&red).await,
        "a: would run: no result of `cat` is stored\n"
    );

    keep(&cache, red.clone()).await;
    let said = explain(&red).await;
    assert!(
        said.starts_with("a: would be reused: stored 5m ago, ")
            && said.contains("\n  note: a change of stdin, the clock, the network, "),
        "{said}"
    );

    std::fs::write(&input, "two").unwrap();
    assert_eq!(
        explain(&job("blue", None)).await,
        "a: would run: it differs from every result of `cat`; since the nearest one, stored 5m ago:\n  \
         the command's file input.txt changed\n  \
         the environment variable COLOUR changed\n  \
         the input file input.txt changed\n"
    );

    std::fs::write(&input, "one").unwrap();
    clock.advance(day);
    let found = reusability(&job("red", Some(day)), None, &cache)
        .await
        .unwrap();
    assert!(matches!(found, Reusability::Unusable(_)), "{found:?}");
    assert_eq!(
        render(&red, &found, None),
        "a: would run: its result, stored 2026-09-21T14:13:20Z, is too old, or damaged\n"
    );
    std::fs::remove_file(&input).unwrap();
    let error = reusability(&red, None, &cache).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("what job `a` depends on cannot be read: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_job_that_reads_the_output_of_another_is_decided_in_a_run() {
    let cache = TaskCache::new(Arc::new(MemoryCache::new(1 << 20)));
    let input = ProgramInput::Output(EarlierOutput::of("list"));
    let job = Job::command("sort", ProcessConfig::new("sort").stdin(input)).terms(cached(None));
    let found = reusability(&job, None, &cache).await.unwrap();
    assert_eq!(
        render(&job, &found, None),
        "sort: would be reused if an earlier run gave it the same stdin: the output of `list`, which is known only in \
         a run\n"
    );
}

#[test]
fn a_job_without_cache_terms_is_told_so() {
    let job = Job::task("\x1b[31m1", "resize", Payload::null());
    assert_eq!(
        render(&job, &Reusability::Nothing, None),
        "\\u{1b}[31m1: would run: no result of `resize` is stored\n  \
         note: the file sets no `cache` for this job: it is cached only if its worker declares so\n"
    );
}

/// Makes a cache on disk with results of three tasks.
async fn filled() -> (tempfile::TempDir, Vec<ratchet_caching::Listing>) {
    let folder = tempfile::tempdir().unwrap();
    let cache = DiskCache::new(folder.path());
    for (number, task) in ["resize", "resize", "count", "odd\ttask"]
        .into_iter()
        .enumerate()
    {
        let hours = Duration::from_hours(number as u64);
        let metadata = ratchet_caching::Metadata {
            labels: ratchet_caching::Labels {
                task: task.to_owned(),
                ..ratchet_caching::Labels::default()
            },
            cost: Duration::from_millis(1500),
            ..ratchet_caching::Metadata::new(stored() + hours)
        };
        let key = ratchet_caching::Key::of(&[u8::try_from(number).unwrap()]);
        let entry = ratchet_caching::Entry::new(vec![0; 1000 + number], metadata);
        cache.put(&key, entry).await.unwrap();
    }
    let listings = cache.list(&Selector::all()).await.unwrap();
    cache.close().await;
    (folder, listings)
}

#[tokio::test]
async fn what_is_stored_is_counted_by_task() {
    let (_folder, listings) = filled().await;
    insta::assert_snapshot!("lines", stats::lines(&listings));
    let now = stored() + Duration::from_hours(3);
    let table = stats::table(Path::new("/cache"), 6 << 20, &listings, now);
    insta::assert_snapshot!("table", table);
}

#[tokio::test]
async fn what_matches_is_cleared() {
    let (folder, _) = filled().await;
    let at = |folder: &Path| Folders {
        state: folder.to_owned(),
        cache: folder.to_owned(),
        cache_owner: crate::folders::CacheOwner::default(),
    };
    let clear = async |task, age| {
        let cache = existing(&at(folder.path())).unwrap();
        clear(cache, task, age).await.unwrap()
    };
    assert_eq!(clear(Some("resise"), None).await, "removed 0 results\n");
    assert_eq!(clear(Some("count"), None).await, "removed 1 result\n");
    let never = Some(Duration::from_hours(24 * 36_000));
    assert_eq!(clear(None, never).await, "removed 0 results\n");
    assert_eq!(clear(None, None).await, "removed 3 results\n");
    let missing = folder.path().join("none");
    let cleared = super::clear(existing(&at(&missing)).unwrap(), None, None).await;
    assert_eq!(cleared.unwrap(), "removed 0 results\n");
    assert!(!missing.exists(), "who only looks makes nothing");
}

#[test]
fn a_cache_that_cannot_be_used_is_an_error_of_the_system() {
    let error = CliError::from(CacheError::NotPerformed {
        source: Arc::new(io::ErrorKind::WouldBlock.into()),
    });
    assert_eq!(error.exit_code(), crate::exit::INTERNAL);
}
