//! Tests of a run on a machine that runs short of something.

use std::sync::Mutex;

use super::*;
use crate::event::{EventRecord, RunEvent};
use crate::executor::{EventFilter, Sink};
use crate::mock::MockProbe;
use crate::monitor::{AdmissionLimits, Reading, ResourceMonitor};

/// A sink that collects the warnings, and the reasons for which jobs are held back.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Sink for Told {
    fn on(&mut self, record: &EventRecord) {
        let line = match &record.event {
            RunEvent::ResourceWarning { resource, percent } => format!("{resource} {percent}"),
            RunEvent::Admission { held } => format!("held: {}", held.is_some()),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }

    fn event_filter(&self) -> EventFilter {
        EventFilter::Run
    }
}

/// Makes a probe of a machine with 100 bytes of memory, whose first readings show this much free memory.
fn probe(free: &'static [u64]) -> MockProbe {
    let mut probe = MockProbe::new();
    let mut readings = free.iter();
    probe.expect_read().returning(move || Reading {
        memory_total: 100,
        memory_available: readings.next().copied().unwrap_or(100),
        ..Reading::default()
    });
    probe
}

#[tokio::test(start_paused = true)]
async fn a_resource_monitor_warns_and_holds_jobs_back_until_there_is_memory() {
    let told = Told::default();
    let limits = AdmissionLimits {
        memory_free: Some(20),
        ..AdmissionLimits::default()
    };
    let monitor = ResourceMonitor::new()
        .interval(SECOND * 10)
        .hold_back(limits)
        .probe(|| probe(&[5, 10, 90]));
    let executor = Executor::builder()
        .resource_monitor(monitor)
        .sink(told.clone());
    let executor = executor.build().unwrap();
    let outcomes = executor.run_all([instant("a")]).await.unwrap();
    assert!(outcomes[0].is_success());
    assert!(
        outcomes[0].queued >= SECOND * 20,
        "{:?}",
        outcomes[0].queued
    );
    let told = told.0.lock().unwrap();
    assert!(told.contains(&"memory 95".to_owned()), "{told:?}");
    assert_eq!(
        told.iter()
            .filter(|line| line.starts_with("memory"))
            .count(),
        1,
        "warned once"
    );
    assert_eq!(told.last().unwrap(), "held: false");
}

#[test]
fn a_resource_monitor_that_could_never_work_is_refused() {
    let refused = |monitor: ResourceMonitor| {
        let built = Executor::builder()
            .resource_monitor(monitor.probe(|| probe(&[])))
            .build();
        built.unwrap_err().to_string()
    };
    let too_short = refused(ResourceMonitor::new().interval(Duration::ZERO));
    assert!(too_short.contains("200ms is the least"), "{too_short}");
    let too_much = refused(ResourceMonitor::new().hold_back(AdmissionLimits {
        memory_free: Some(101),
        ..AdmissionLimits::default()
    }));
    assert!(too_much.contains("no job would ever start"), "{too_much}");
}
