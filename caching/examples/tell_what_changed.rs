//! Keys a result by everything that it depends on, and explains why a later run does not find it.
//!
//! `cargo run -p ratchet-caching --example tell_what_changed`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use ratchet_caching::{Explanation, Fingerprint, Labels, Policy, TaskCache};

fn fingerprint(version: &str, input: &str) -> Fingerprint {
    Fingerprint::builder()
        .worker_command(["python3", "area.py"])
        .worker_version(version)
        .task("area")
        .input(input)
        .build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = TaskCache::in_memory(1 << 20);
    let labels = Labels {
        task: "area".into(),
        ..Labels::default()
    };

    let first = fingerprint("1", r#"{"width": 2, "height": 3}"#);
    let policy = Policy::cacheable(labels).fingerprint(first.clone());
    cache
        .get_or_compute(&first.key(), &policy, async || Ok(Arc::from(*b"6")))
        .await;

    // The order of keys does not matter.
    let same = fingerprint("1", r#"{"height": 3, "width": 2}"#);
    println!("the same input: {}", first.key() == same.key());

    let newer = fingerprint("2", r#"{"width": 2, "height": 3}"#);
    if let Explanation::Differs { differences, .. } = cache.explain("area", &newer).await? {
        for difference in differences {
            println!("it is computed again because of {difference}");
        }
    }
    Ok(())
}
