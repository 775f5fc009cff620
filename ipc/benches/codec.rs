//! Measures encoding and decoding of messages, compared to `serde_json` with derived types.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

mod ratio;
#[expect(dead_code, reason = "only its message types are of use here")]
mod reference;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use ratchet_ipc::{Codec, Incoming, IpcMessage, Limits, Native, Payload, Request, Response};
use serde_json::value::RawValue;

use ratio::{Ratios, timed};

/// The number of messages of one round.
const BATCH: u64 = 256;

/// Measures rounds of [`BATCH`] messages.
fn bench(
    criterion: &mut Criterion,
    ratios: &Ratios,
    group: &str,
    name: &'static str,
    mut round: impl FnMut(),
) {
    let mut benchmarks = criterion.benchmark_group(group);
    benchmarks.throughput(Throughput::Elements(BATCH));
    benchmarks
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    benchmarks.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let total = timed(|| (0..count).for_each(|_| round()));
            ratios.note(group, name, total, count * BATCH);
            total
        });
    });
    benchmarks.finish();
}

fn encode(criterion: &mut Criterion, ratios: &Ratios, size: &str, json: &str) {
    let group = format!("encode a request, {size}");
    let input: &RawValue = serde_json::from_str(json).expect("it is JSON");
    let mut bytes = Vec::new();
    bench(criterion, ratios, &group, "serde_json", || {
        bytes.clear();
        for id in 0..BATCH {
            let id = id.to_string();
            let request = reference::Request {
                r#type: "request",
                id: &id,
                task: "echo",
                input,
                attempt: 1,
            };
            serde_json::to_writer(&mut bytes, &request).expect("it is JSON");
            bytes.push(b'\n');
        }
        black_box(&bytes);
    });
    let input = Payload::from_json(json).expect("it is JSON");
    let mut codec = Codec::new(Native, Limits::default());
    bench(criterion, ratios, &group, "ratchet", || {
        for id in 0..BATCH {
            let request = Request::new(id, "echo", input.clone());
            codec.encode(&request.into()).expect("it is small");
        }
        let bytes = black_box(codec.outgoing()).len();
        codec.mark_written(bytes);
    });
}

fn decode(criterion: &mut Criterion, ratios: &Ratios, size: &str, json: &str) {
    let group = format!("decode a response, {size}");
    let lines: String = (0..BATCH)
        .map(|id| {
            let outcome = Ok(Payload::from_json(json).expect("it is JSON"));
            format!(
                "{}\n",
                IpcMessage::from(Response {
                    id: id.into(),
                    outcome
                })
            )
        })
        .collect::<Vec<_>>()
        .concat();
    bench(criterion, ratios, &group, "serde_json", || {
        for line in lines.lines() {
            let response: reference::Response<'_> =
                serde_json::from_str(line).expect("it is a response");
            black_box((response.id.parse::<u64>().ok(), response.result.to_owned()));
        }
    });
    let mut codec = Codec::new(Native, Limits::default());
    let now = tokio::time::Instant::now().into_std();
    bench(criterion, ratios, &group, "ratchet", || {
        for chunk in lines.as_bytes().chunks(64 * 1024) {
            codec.feed(chunk);
            while let Some(incoming) = codec.next(now) {
                assert!(matches!(black_box(incoming), Incoming::Message(_)));
            }
        }
    });
}

fn main() {
    let ratios = Ratios::default();
    let mut criterion = Criterion::default().configure_from_args();
    let large = format!("\"{}\"", "x".repeat(64 * 1024));
    for (size, json) in [
        ("small", r#"{"path":"images/a.png","width":640}"#),
        ("64 KiB", &large),
    ] {
        encode(&mut criterion, &ratios, size, json);
        decode(&mut criterion, &ratios, size, json);
    }
    criterion.final_summary();
    ratios.print();
}
