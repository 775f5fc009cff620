//! What workers say that they should not, or in another way than usual.

use std::time::Duration;

use ratchet_ipc::HandshakeMode;

use super::fake::{config, job, manager, pass, submit};
use crate::outcome::Class;
use crate::process::{PoolConfig, ProcessPool};

#[tokio::test(start_paused = true)]
async fn a_malformed_hello_is_refused_and_says_why() {
    let says = r#"{"type":"event","event":"hello","protocol":[1],"concurrency":0}"#;
    let why = "worker echo/1 cannot be talked to: its hello is malformed: `concurrency` is 0, and has to \
               be a whole number from 1";
    for handshake in [HandshakeMode::Auto, HandshakeMode::Required] {
        let (manager, mut workers) = manager();
        let config = PoolConfig {
            handshake,
            ..config()
        };
        let pool = ProcessPool::new(manager, config).await.unwrap();
        let mut worker = workers.recv().await.unwrap();
        let run = submit(&pool, job("a"));
        worker.print(says).await;
        let failure = run.await.unwrap().result.unwrap_err();
        assert_eq!(failure.class, Class::Protocol);
        assert_eq!(failure.message, why);
        pass(Duration::from_secs(100)).await;
        assert!(workers.try_recv().is_err(), "the next would say the same");
    }
}
