//! Measures the time of making a key, compared to the digest of the same bytes in the same run.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails says where")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ratchet_caching::Fingerprint;

/// Reference: the digest of the same bytes.
fn fingerprint(c: &mut Criterion) {
    // A typical input: some names, some numbers, and a text.
    let text = format!(
        r#"{{"id": 17, "path": "images/17.png", "width": 640, "quality": 0.9, "caption": "{}"}}"#,
        "a picture of something ".repeat(40)
    );
    // The slowest input of a kilobyte: sixty members, half of them out of order.
    let fields: Vec<String> = (0..20)
        .map(|n| format!(r#""field_{n}": {{"path": "images/{n}.png", "w": {n}}}"#))
        .collect();
    let members = format!(r#"{{"data": {{{}}}, "a": 1.5}}"#, fields.join(", "));
    let base = Fingerprint::builder()
        .salt("salt")
        .worker_command(["python3", "resize.py"])
        .worker_version("1")
        .task("resize")
        .environment("LANG", Some("C"));
    for (name, input) in [("a text", text), ("sixty members", members)] {
        let mut group = c.benchmark_group(format!("fingerprint of {name}, {} bytes", input.len()));
        group.bench_function("reference: BLAKE3 of the text", |b| {
            b.iter(|| blake3::hash(black_box(&input).as_bytes()));
        });
        group.bench_function("reference: serde_json reads the text", |b| {
            b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&input)).unwrap());
        });
        group.bench_function("Fingerprint, from a builder", |b| {
            b.iter(|| base.clone().input(black_box(&input)).build());
        });
        let template = base.clone().prepare();
        group.bench_function("Fingerprint, from a template", |b| {
            b.iter(|| template.fingerprint(black_box(&input)));
        });
        group.finish();
    }
}

criterion_group!(benches, fingerprint);
criterion_main!(benches);
