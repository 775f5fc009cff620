use std::time::Duration;

use super::*;

type Set = fn(FingerprintBuilder) -> FingerprintBuilder;

/// Every part of a fingerprint, with two functions that set it to different values.
const PARTS: [(Component, Set, Set); 9] = [
    (Component::Salt, |b| b.salt("1"), |b| b.salt("2")),
    (
        Component::WorkerCommand,
        |b| b.worker_command(["a", "b"]),
        |b| b.worker_command(["ab"]),
    ),
    (
        Component::WorkerVersion,
        |b| b.worker_version("1"),
        |b| b.worker_version("2"),
    ),
    (Component::Task, |b| b.task("1"), |b| b.task("2")),
    (
        Component::TaskVersion,
        |b| b.task_version("1"),
        |b| b.task_version("2"),
    ),
    (Component::Input, |b| b.input("1"), |b| b.input("1.0")),
    (
        Component::Environment,
        |b| b.environment("NAME", Some("")),
        |b| b.environment("NAME", None::<&str>),
    ),
    (
        Component::Timeout,
        |b| b.timeout(Duration::from_secs(1)),
        |b| b.timeout(Duration::from_secs(2)),
    ),
    (
        Component::Extra,
        |b| b.extra("name", b"1"),
        |b| b.extra("name", b"2"),
    ),
];

fn all(except: usize) -> FingerprintBuilder {
    let others = PARTS
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != except);
    others.fold(Fingerprint::builder(), |builder, (_, (_, set, _))| {
        set(builder)
    })
}

#[test]
fn every_part_counts_and_is_named_alone() {
    for (index, (component, set, set_otherwise)) in PARTS.iter().enumerate() {
        let without = all(index);
        let (one, other) = (set(without.clone()), set_otherwise(without.clone()));
        let [without, one, other] = [without, one, other].map(FingerprintBuilder::build);
        for (first, second, change) in [
            (&without, &one, Change::Added),
            (&one, &without, Change::Removed),
            (&one, &other, Change::Changed),
        ] {
            assert_ne!(first.key(), second.key(), "{component:?} {change:?}");
            let differences = explain(first, second);
            let named: Vec<_> = differences
                .iter()
                .map(|d| (d.component, d.change))
                .collect();
            assert_eq!(named, [(*component, change)]);
        }
        assert_eq!(explain(&one, &one), []);
    }
}

#[test]
fn neither_the_order_nor_what_was_set_before_counts() {
    let (mut forward, mut backward) = (Fingerprint::builder(), Fingerprint::builder());
    for (_, set, set_otherwise) in &PARTS {
        forward = set(set_otherwise(forward));
    }
    for (_, set, _) in PARTS.iter().rev() {
        backward = set(backward);
    }
    assert_eq!(forward.build(), backward.build());
}

#[test]
fn equal_contents_of_different_parts_are_different() {
    let fingerprint = |set: Set| set(Fingerprint::builder()).build().key();
    let sets: [Set; 8] = [
        |b| b.salt("1"),
        |b| b.worker_version("1"),
        |b| b.task("1"),
        |b| b.task_version("1"),
        |b| b.input("1"),
        |b| b.extra("", b"1"),
        |b| b.extra("1", b""),
        |b| b,
    ];
    let keys: std::collections::HashSet<Key> = sets.into_iter().map(fingerprint).collect();
    assert_eq!(keys.len(), sets.len());
}

#[test]
fn a_template_makes_what_its_builder_makes() {
    let builder = all(PARTS.len());
    let template = builder.clone().prepare();
    for input in ["1", r#"{"b": 1, "a": [2.50]}"#] {
        let built = builder.clone().input(input).build();
        let made = template.fingerprint(input);
        assert_eq!(made, built);
        assert_eq!(explain(&made, &built), []);
    }
}
