//! Measures writing a journal, compared to a write of the same bytes, and reading one.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput};
use ratchet_runtime::journal::{Header, ResumeDecision};
use ratchet_runtime::worker::WorkerName;
use ratchet_runtime::{
    Blocker, Content, Durability, History, Job, Journal, Outcome, Payload, Resume, RunId,
    SlotNumber, Timestamp,
};

/// How many jobs are appended between two flushes. At some hundred thousand jobs a second, about as many end while a
/// flush runs.
const GROUP: usize = 1024;

fn header() -> Header {
    let now = SystemTime::UNIX_EPOCH;
    Header::new(RunId::at(now), now, Payload::null())
}

/// Makes a group of small jobs with their outcomes.
fn group(from: usize) -> Vec<(Job, Outcome)> {
    let numbered = |number: usize| {
        let input = Payload::from_value(&number).expect("a number is JSON");
        let job = Job::task(format!("job-{number}"), "echo", input.clone()).on_host("web1");
        let outcome = Outcome {
            host: job.host.clone(),
            attempts: 1,
            worker: Some(WorkerName::new("echo", 2)),
            queued: Duration::from_micros(412),
            duration: Duration::from_micros(57),
            slot: SlotNumber::new(2),
            started: Some(Timestamp::from_millis(1_790_000_000_123)),
            ended: Some(Timestamp::from_millis(1_790_000_000_124)),
            waits: [(Blocker::Worker, Duration::from_micros(412))]
                .into_iter()
                .collect(),
            ..Outcome::new(job.id.clone(), "echo", Ok(input))
        };
        (job, outcome)
    };
    (from..from + GROUP).map(numbered).collect()
}

fn append(journal: &mut Journal, group: &[(Job, Outcome)]) {
    for (job, outcome) in group {
        journal.append(job, outcome).expect("there is room");
    }
    journal.flush().expect("there is room");
}

/// Returns the bytes that the journal writes for a group.
fn bytes_of(folder: &Path, group: &[(Job, Outcome)]) -> Vec<u8> {
    let path = folder.join("bytes");
    let mut journal = Journal::create(&path, &header(), Durability::None).expect("there is room");
    append(&mut journal, group);
    drop(journal);
    let bytes = std::fs::read(&path).expect("it was just written");
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    bytes[first + 1..].to_vec()
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let folder = tempfile::Builder::new()
        .tempdir_in(".")
        .expect("the folder can be written to");
    let group_of_jobs = group(0);
    writing(&mut criterion, folder.path(), &group_of_jobs);
    reading(&mut criterion, folder.path());
    criterion.final_summary();
}

fn writing(criterion: &mut Criterion, folder: &Path, jobs: &[(Job, Outcome)]) {
    let bytes = bytes_of(folder, jobs);
    let mut group = criterion.benchmark_group("append-1024");
    group.throughput(Throughput::Elements(GROUP as u64));
    for (name, sync) in [("bare-write", false), ("bare-write-sync", true)] {
        let mut file = File::create(folder.join(name)).expect("there is room");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                file.write_all(&bytes).expect("there is room");
                if sync {
                    file.sync_data().expect("it can be synced");
                }
            });
        });
    }
    for (name, durability) in [
        ("none", Durability::None),
        ("batch", Durability::Batch),
        ("each", Durability::Each),
    ] {
        let path = folder.join(name);
        let mut journal = Journal::create(&path, &header(), durability).expect("there is room");
        group.bench_function(name, |bencher| bencher.iter(|| append(&mut journal, jobs)));
    }
    group.bench_function("content-alone", |bencher| {
        bencher.iter(|| {
            for (job, _) in jobs {
                black_box(Content::of(black_box(job)));
            }
        });
    });
    group.bench_function("result-line-alone", |bencher| {
        let mut line = Vec::new();
        bencher.iter(|| {
            line.clear();
            for (_, outcome) in jobs {
                serde_json::to_writer(&mut line, outcome).expect("it is JSON");
            }
        });
    });
    group.finish();
}

fn reading(criterion: &mut Criterion, folder: &Path) {
    const JOBS: usize = 200 * GROUP;
    let path = folder.join("long");
    let mut journal = Journal::create(&path, &header(), Durability::None).expect("there is room");
    for from in (0..JOBS).step_by(GROUP) {
        append(&mut journal, &group(from));
    }
    drop(journal);
    let mut criterion = criterion.benchmark_group("read-204800");
    criterion.throughput(Throughput::Elements(JOBS as u64));
    criterion.bench_function("load", |bencher| {
        bencher.iter(|| History::load(&path).expect("it was just written"));
    });
    let history = Arc::new(History::load(&path).expect("it was just written"));
    let jobs: Vec<Job> = (0..JOBS)
        .step_by(GROUP)
        .flat_map(|from| group(from).into_iter().map(|(job, _)| job))
        .collect();
    criterion.bench_function("decide", |bencher| {
        bencher.iter_batched(
            || Resume::new(Arc::clone(&history), None),
            |mut resume| {
                for job in &jobs {
                    assert!(matches!(resume.decide(job), ResumeDecision::Keep(_)));
                }
                resume
            },
            BatchSize::PerIteration,
        );
    });
    criterion.finish();
}
