//! Measures a request to a real child process and its response, compared to the minimum that a program has to do.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has to stop"
)]

mod ratio;
mod reference;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use ratchet_ipc::{Incoming, IpcTransport, Payload, Request, StdioTransport};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::runtime::Runtime;

use ratio::{Ratios, timed};

/// A small, typical input.
const INPUT: &str = r#"{"path":"images/a.png","width":640}"#;

/// A host with the transport of this crate.
struct Host {
    _child: Child,
    transport: StdioTransport<ChildStdout, ChildStdin>,
    next: u64,
}

impl Host {
    fn start() -> Self {
        let command = reference::echo_command().expect("this program has a path");
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("this program starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self {
            _child: child,
            transport: StdioTransport::new(stdout, stdin),
            next: 0,
        }
    }

    async fn exchange(&mut self, total: u64, in_flight: u64, input: &Payload) {
        let (mut sent, mut answered) = (0, 0);
        while answered < total {
            while sent < total && sent - answered < in_flight {
                let request = Request::new(self.next, "echo", input.clone());
                self.transport.queue(&request.into()).expect("it is small");
                self.next += 1;
                sent += 1;
            }
            let mut next = Some(self.transport.receive().await.expect("the child answers"));
            while let Some(incoming) = next {
                assert!(matches!(incoming, Incoming::Message(_)), "{incoming:?}");
                answered += 1;
                next = self.transport.try_receive();
            }
        }
    }
}

fn echo(criterion: &mut Criterion, runtime: &Runtime, ratios: &Ratios) {
    let input = Payload::from_json(INPUT).expect("it is JSON");
    let raw = serde_json::from_str(INPUT).expect("it is JSON");
    for in_flight in [1, 16, 256] {
        let name = format!("echo, {in_flight} in flight");
        let mut group = criterion.benchmark_group(&name);
        group.throughput(Throughput::Elements(1));
        group
            .measurement_time(Duration::from_secs(3))
            .sample_size(20);
        group.bench_function("reference", |bencher| {
            let mut host = reference::Host::start().expect("the echo starts");
            bencher.iter_custom(|count| {
                let total = timed(|| {
                    host.exchange(count, in_flight, raw)
                        .expect("the echo answers");
                });
                ratios.note(&name, "reference", total, count);
                total
            });
        });
        group.bench_function("ratchet", |bencher| {
            let mut host = runtime.block_on(async { Host::start() });
            bencher.iter_custom(|count| {
                let total = timed(|| runtime.block_on(host.exchange(count, in_flight, &input)));
                ratios.note(&name, "ratchet", total, count);
                total
            });
        });
        group.finish();
    }
}

fn main() {
    if reference::echo_if_asked() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ratios = Ratios::default();
    let mut criterion = Criterion::default().configure_from_args();
    echo(&mut criterion, &runtime, &ratios);
    criterion.final_summary();
    ratios.print();
}
