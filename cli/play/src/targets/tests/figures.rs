//! Measurements, run on demand: `cargo test --release -p ratchet-play figures -- --ignored --nocapture`.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Bench, call, context};
use crate::modules::{ModulePaths, Modules};

/// The number of calls that are measured.
const CALLS: u32 = 200;

#[tokio::test]
#[ignore = "it measures, and proves nothing"]
async fn figures_of_a_local_target() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let own = Modules::find_ansible(ModulePaths::default());
    for (modules, whose) in [(&bench.modules, "Ansible's"), (&own, "our own")] {
        let target = bench.target();
        let begun = Instant::now();
        let ping = modules.find("ping", &[], &[]).unwrap();
        bench.result(&target, &ping, json!({})).await;
        eprintln!(
            "{whose}: first result on a host that has nothing: {:?}",
            begun.elapsed()
        );
        bench.targets.reset(&target).await;
        let begun = Instant::now();
        bench.result(&target, &ping, json!({})).await;
        eprintln!(
            "{whose}: first result on a host that has the bundles: {:?}",
            begun.elapsed()
        );
        for (name, arguments) in [
            ("ping", json!({})),
            ("stat", json!({ "path": "/tmp" })),
            (
                "file",
                json!({ "path": bench.at("touched"), "state": "touch" }),
            ),
            ("command", json!({ "_raw_params": "true" })),
        ] {
            for at_once in [1, 8] {
                let rate = rate(&bench, modules, name, &arguments, at_once).await;
                eprintln!("{whose}: {name}, {at_once} at once: {rate:.0}/s");
            }
        }
    }
}

/// Measures how many calls per second complete with this many at once.
async fn rate(
    bench: &Bench,
    modules: &Modules,
    name: &str,
    arguments: &Value,
    at_once: u32,
) -> f64 {
    let target = bench.target();
    let module = modules.find(name, &[], &[]).unwrap();
    for _ in 0..3 {
        bench.result(&target, &module, arguments.clone()).await;
    }
    let begun = Instant::now();
    let callers = (0..at_once).map(|_| {
        let asked = call(&module, arguments.clone());
        let (targets, target) = (Arc::clone(&bench.targets), Arc::clone(&target));
        tokio::spawn(async move {
            for _ in 0..CALLS / at_once {
                targets.call(&target, &asked, &context()).await.unwrap();
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        caller.await.unwrap();
    }
    f64::from(CALLS) / begun.elapsed().as_secs_f64()
}
