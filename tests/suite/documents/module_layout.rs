//! The document that splits an execution module into crates, item by item: files, traits, and the types between them.

use std::sync::Arc;
use std::time::Duration;

use ratchet_ipc::serve::{Call, Json};
use ratchet_ipc::{
    Event, Incoming, IpcMessage, IpcTransport, Nonce, Payload, Request, Response, StdioTransport,
    memory_pair,
};
use ratchet_resilience::Rng;
use ratchet_resilience::retry::{
    BackoffPolicy, Delay, Fault, GiveUpReason, Jitter, RetryDecision, RetryExecutor, RetryHistory,
    RetryPolicy,
};
use ratchet_runtime::mock::FakeProcesses;
use ratchet_runtime::process::{
    LocalProcesses, PoolConfig, ProcessConfig, ProcessManager, ProcessPool, ProcessSupervisor, Size,
};
use ratchet_runtime::{Job, Payload as Input};

use super::root;

/// The files of the document, and where each stands where that is another place.
const FILES: [(&str, &str); 27] = [
    ("ratchet-runtime/src/lib.rs", "runtime/src/lib.rs"),
    (
        "ratchet-runtime/src/executor/mod.rs",
        "runtime/src/executor.rs",
    ),
    (
        "ratchet-runtime/src/executor/orchestrator.rs",
        "runtime/src/executor/orchestrator.rs",
    ),
    (
        "ratchet-runtime/src/executor/context.rs",
        "runtime/src/context.rs",
    ),
    (
        "ratchet-runtime/src/process/mod.rs",
        "runtime/src/process.rs",
    ),
    (
        "ratchet-runtime/src/process/pool.rs",
        "runtime/src/process/pool.rs",
    ),
    (
        "ratchet-runtime/src/process/supervisor.rs",
        "runtime/src/process/supervisor.rs",
    ),
    (
        "ratchet-runtime/src/process/lifecycle.rs",
        "runtime/src/os/lifecycle.rs",
    ),
    ("ratchet-runtime/src/worker/mod.rs", "runtime/src/worker.rs"),
    (
        "ratchet-runtime/src/worker/implementation.rs",
        "ipc/src/serve.rs",
    ),
    (
        "ratchet-runtime/src/worker/scheduler.rs",
        "runtime/src/process/pool/seats.rs",
    ),
    (
        "ratchet-runtime/src/worker/state.rs",
        "runtime/src/worker/state.rs",
    ),
    (
        "ratchet-runtime/src/scheduling/mod.rs",
        "runtime/src/scheduling.rs",
    ),
    (
        "ratchet-runtime/src/scheduling/queue.rs",
        "runtime/src/scheduling/queue.rs",
    ),
    (
        "ratchet-runtime/src/scheduling/priority.rs",
        "runtime/src/scheduling/priority.rs",
    ),
    (
        "ratchet-runtime/src/scheduling/balancer.rs",
        "runtime/src/scheduling/balancer.rs",
    ),
    ("ratchet-ipc/src/protocol.rs", "ipc/src/protocol.rs"),
    ("ratchet-ipc/src/messages.rs", "ipc/src/messages.rs"),
    ("ratchet-ipc/src/transport.rs", "ipc/src/transport.rs"),
    (
        "ratchet-ipc/src/serialization.rs",
        "ipc/src/serialization.rs",
    ),
    (
        "ratchet-resilience/src/retry/policy.rs",
        "resilience/src/retry/policy.rs",
    ),
    (
        "ratchet-resilience/src/retry/backoff.rs",
        "resilience/src/retry/backoff.rs",
    ),
    (
        "ratchet-resilience/src/circuit_breaker/mod.rs",
        "resilience/src/circuit_breaker.rs",
    ),
    (
        "ratchet-resilience/src/shutdown/coordinator.rs",
        "resilience/src/shutdown/coordinator.rs",
    ),
    ("ratchet-caching/src/cache.rs", "caching/src/cache.rs"),
    (
        "ratchet-caching/src/task_cache.rs",
        "caching/src/task_cache.rs",
    ),
    (
        "ratchet-caching/src/invalidation.rs",
        "caching/src/invalidation.rs",
    ),
];

#[test]
fn each_file_of_the_document_has_its_place() {
    for (named, place) in FILES {
        assert!(
            root().join(place).is_file(),
            "{named} should stand at {place}"
        );
    }
}

mod process {
    use super::*;

    #[tokio::test]
    async fn a_process_manager_spawns_gets_lists_and_terminates() {
        let manager: Arc<dyn ProcessManager> = Arc::new(LocalProcesses::start());
        let config = ProcessConfig {
            command: "sleep".into(),
            args: vec!["1000".into()],
            working_dir: Some("/".into()),
            ..ProcessConfig::new("sleep")
        };
        let mut process = manager.spawn_process(&config).await.unwrap();
        let found = manager.get_process(process.id()).await.unwrap().unwrap();
        assert_eq!(manager.list_processes().await.unwrap(), [found]);
        manager
            .terminate_process(process.id(), Duration::from_secs(5))
            .await
            .unwrap();
        process.exit().wait().await;
        assert_eq!(manager.get_process(process.id()).await.unwrap(), None);
    }

    fn manager() -> FakeProcesses {
        FakeProcesses::of_task(
            "echo",
            |call: Call| async move { Ok(Json(call.read::<u32>()?)) },
        )
    }

    #[tokio::test]
    async fn a_process_pool_scales_on_a_manager_without_processes() {
        let config = PoolConfig {
            size: Size::between(1, 8),
            ..PoolConfig::new("echo", ProcessConfig::new("echo"))
        };
        let pool = ProcessPool::new(Arc::new(manager()), config).await.unwrap();
        pool.scale_to(5).await.unwrap();
        assert_eq!(pool.size().await.unwrap(), 5);
        pool.scale_to(3).await.unwrap();
        assert_eq!(pool.size().await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_pool_gives_an_available_process() {
        let config = PoolConfig::new("echo", ProcessConfig::new("echo"));
        let pool = ProcessPool::new(Arc::new(manager()), config).await.unwrap();
        drop(pool.acquire().await.unwrap());
        let reply = pool
            .run(Job::task("a", "echo", Input::from_value(&7).unwrap()))
            .await;
        assert_eq!(reply.result.unwrap().read::<u32>().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_supervisor_replaces_a_process_that_fails() {
        let processes = manager();
        let supervisor = ProcessSupervisor::start(Arc::new(processes.clone()));
        let config = PoolConfig::new("echo", ProcessConfig::new("echo"));
        let pool = supervisor.add(config).await.unwrap();
        drop(pool.acquire().await.unwrap());
        processes.crash_all();
        let replaced = async {
            // The supervisor hears of the crash in a moment.
            while processes.started() < 2 {
                drop(pool.acquire().await.unwrap());
                tokio::task::yield_now().await;
            }
        };
        let replaced = tokio::time::timeout(Duration::from_mins(1), replaced).await;
        replaced.expect("another process is started");
        supervisor.shutdown().await;
    }
}

mod ipc {
    use super::*;

    fn messages() -> [IpcMessage; 3] {
        let answer = Response {
            id: 1.into(),
            outcome: Ok(Payload::null()),
        };
        [
            IpcMessage::Request(Request::new(1, "echo", Payload::null())),
            IpcMessage::Response(answer),
            IpcMessage::Event(Event::Ping(Nonce { nonce: 7 })),
        ]
    }

    #[test]
    fn a_message_is_tagged_with_its_type() {
        for (message, kind) in messages().iter().zip(["request", "response", "event"]) {
            let json: serde_json::Value = serde_json::from_str(&message.to_string()).unwrap();
            assert_eq!(json["type"], kind);
        }
    }

    #[tokio::test]
    async fn a_transport_sends_receives_and_closes() {
        let (mut here, mut there) = memory_pair();
        for message in messages() {
            here.send(message.clone()).await.unwrap();
            let received = there.receive().await.unwrap();
            assert!(
                matches!(received, Incoming::Message(ref got) if *got == message),
                "{received:?}"
            );
        }
        here.close().await.unwrap();
        assert!(matches!(there.receive().await.unwrap(), Incoming::End));
    }

    #[tokio::test]
    async fn a_stdio_transport_writes_a_message_a_line() {
        let (stdin, mut seen) = tokio::io::duplex(1 << 10);
        let mut transport = StdioTransport::new(tokio::io::empty(), stdin);
        for message in messages() {
            transport.send(message).await.unwrap();
        }
        transport.close().await.unwrap();
        drop(transport);
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut seen, &mut text)
            .await
            .unwrap();
        assert_eq!(text.lines().count(), 3);
    }
}

mod retry {
    use super::*;

    fn exponential(max_attempts: u32) -> BackoffPolicy {
        let delay = Delay::Exponential {
            initial: Duration::from_secs(1),
            multiplier: 2.0,
        };
        let policy = BackoffPolicy::builder()
            .max_attempts(max_attempts)
            .delay(delay);
        let policy = policy
            .max_delay(Duration::from_secs(3))
            .jitter(Jitter::None)
            .build();
        policy.expect("the policy is valid")
    }

    #[test]
    fn exponential_backoff_tells_whether_and_after_what_delay_to_retry() {
        let policy = exponential(4);
        let (busy, wrong) = (Fault::transient("busy"), Fault::permanent("wrong"));
        let now = tokio::time::Instant::now().into_std();
        let mut history = RetryHistory::new(now);
        let mut rng = Rng::seeded(1);
        for seconds in 1..=3 {
            let decision = history.record_failure(&policy, &busy, now, &mut rng);
            let RetryDecision::Retry { at } = decision else {
                panic!("{decision:?}");
            };
            assert_eq!((at - now).as_secs(), seconds);
        }
        let last = history.record_failure(&policy, &busy, now, &mut rng);
        let reason = GiveUpReason::Attempts { max: 4 };
        assert_eq!(last, RetryDecision::GiveUp { reason });
        let wrong = history.record_failure(&policy, &wrong, now, &mut rng);
        assert!(matches!(wrong, RetryDecision::GiveUp { .. }));
        assert!(policy.time_limit().is_none());
    }

    #[tokio::test]
    async fn a_retry_executor_calls_until_the_call_succeeds() {
        let policy = BackoffPolicy::builder()
            .max_attempts(3)
            .delay(Delay::Fixed(Duration::from_millis(1)));
        let executor = RetryExecutor::new(policy.build().unwrap());
        let result = executor
            .execute(async |attempt| {
                if attempt < 3 {
                    Err(Fault::transient("busy"))
                } else {
                    Ok(attempt)
                }
            })
            .await;
        assert_eq!(result.unwrap(), 3);
    }
}
