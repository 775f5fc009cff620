//! Drops the results of one function, and prints what the cache has counted.
//!
//! `cargo run -p ratchet-caching --example drop_results`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::convert::Infallible;

use ratchet_caching::{CallKey, Selector, TaskCache};

/// Returns the square of a number, from the cache if it is stored there.
async fn square(cache: &TaskCache, number: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let key = CallKey::new("square 1", &number)?;
    let result = cache
        .memo(&key, async || Ok::<_, Infallible>(number * number))
        .await;
    Ok(result?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = TaskCache::in_memory(1 << 20);
    for number in [1, 2, 3, 2, 3] {
        square(&cache, number).await?;
    }
    let dropped = cache.invalidate(&Selector::task("square 1")).await?;
    println!("dropped {dropped} results");
    square(&cache, 3).await?;

    let stats = cache.stats().await?;
    println!("{} hits, misses: {:?}", stats.hits, stats.misses);
    println!(
        "{} bytes written, {} read, {} evicted",
        stats.bytes_written, stats.bytes_read, stats.store.evicted
    );
    Ok(())
}
