//! A host with a pool of two busy workers that have started processes of their own. It prints a line when they are busy,
//! and waits to be killed. Its argument is the program of the worker.

use std::io::Write;
use std::sync::Arc;

use ratchet_runtime::process::{
    Environment, LocalProcesses, PoolConfig, ProcessConfig, ProcessPool, Size,
};
use ratchet_runtime::{Job, Payload};
use ratchet_tests::marked;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::args().nth(1).ok_or("which worker?")?;
    let mark = std::process::id().to_string();
    let worker = ProcessConfig::new(program)
        .arg("grandchildren_hang")
        .env(Environment::inherited().set("RATCHET_FAULT", &mark));
    let config = PoolConfig {
        size: Size::fixed(2),
        ..PoolConfig::new("faulty", worker)
    };
    let pool = ProcessPool::new(Arc::new(LocalProcesses::start()), config).await?;
    let hang = || pool.run(Job::task("a", "any", Payload::from_text("fault")));
    let all_are_there = async {
        // There are two workers, and at least one process that each has started.
        ratchet_tests::eventually("they work", || {
            marked(&format!("RATCHET_FAULT={mark}")).len() >= 4
        })
        .await;
        std::io::stdout().write_all(b"all are there\n")?;
        std::future::pending::<std::io::Result<()>>().await
    };
    let (_, _, said) = tokio::join!(hang(), hang(), all_are_there);
    Ok(said?)
}
