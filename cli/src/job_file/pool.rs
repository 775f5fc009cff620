//! Turns the section of a worker into the settings of a pool.

use std::num::NonZeroU32;
use std::path::Path;

use ratchet_ipc::LineFormat;
use ratchet_runtime::process::{
    PoolConfig, ProcessConfig, Recycling, RestartPolicy, Size, WorkerProtocol,
};

use super::files::{Paths, Presence, work_files};
use super::options::PlanOptions;
use super::program;
use super::spec::{Protocol, RestartSpec, SizeSpec, WorkerSpec};
use crate::diagnostic::{Diagnostic, Problems, Severity, Span};
use crate::document::{self, ClapWord, Count, Either, Field};

/// Makes the pool of a section. Errors of single values were reported when the section was read. This reports the
/// others.
///
/// `is_refused` is whether an error of the section was reported before.
pub(super) fn from_spec(
    name: &str,
    place: Span,
    spec: WorkerSpec,
    is_refused: bool,
    folder: Option<&Path>,
    options: &PlanOptions,
    problems: &mut Problems,
) -> Option<PoolConfig> {
    let before = problems.len();
    let language = language(&spec, problems);
    let files = work_files(
        &spec.push,
        &Paths::default(),
        None,
        folder,
        Presence::Now,
        problems,
    );
    let process = program::process(spec.command, spec.env, spec.cwd, folder, problems);
    // Without a command no pool is returned, but the rest of the section is checked nevertheless.
    let is_whole = process.is_some();
    let mut process = process.unwrap_or_else(|| ProcessConfig::new("none"));
    process.files = files;
    let mut pool = PoolConfig::new(name, process);
    options.pools.apply(&mut pool);
    pool.language = language;
    if let (WorkerProtocol::Lines { .. }, Some(lines)) = (language, spec.skip_lines.into_value()) {
        pool.skip_lines = lines.0.into();
    }
    let span = |field: Field<document::PositiveDuration>| field.into_value().map(|span| span.0);
    pool.handshake = spec.handshake.into_value().unwrap_or_default();
    pool.balance = spec.balance.into_value().unwrap_or_default();
    pool.limits.stray = spec.stray.into_value().unwrap_or_default();
    pool.handshake_wait = span(spec.handshake_wait).unwrap_or(pool.handshake_wait);
    pool.start_timeout = span(spec.start_timeout).unwrap_or(pool.start_timeout);
    pool.grace = spec.grace.into_value().unwrap_or(pool.grace);
    pool.limits.max_message_bytes =
        bytes(spec.max_message, problems).unwrap_or(pool.limits.max_message_bytes);
    pool.stderr_bytes = bytes(spec.stderr, problems).unwrap_or(pool.stderr_bytes);
    pool.size = match spec.size.into_value() {
        None => pool.size,
        Some(Either::First(workers)) => Size::fixed(workers.0),
        Some(Either::Second(spec)) => size(spec, problems).unwrap_or(pool.size),
    };
    pool.prefetch = spec.prefetch.into_value().unwrap_or(pool.prefetch);
    match spec.ping.into_value() {
        None => {}
        Some(Either::First(_)) => pool.ping = None,
        Some(Either::Second(ping)) => pool.ping = Some(ping.0),
    }
    let concurrency = spec.concurrency.into_value();
    pool.concurrency = concurrency.and_then(|count| NonZeroU32::new(count.0));
    pool.recycling = Recycling {
        max_jobs: spec.max_jobs.into_value().map(|Count(jobs)| jobs.into()),
        ttl: span(spec.ttl),
        idle_ttl: span(spec.idle_ttl),
        soft_memory: None,
    };
    match spec.memory.into_value() {
        None => {}
        Some(Either::First(hard)) => pool.hard_memory = Some(hard.0),
        Some(Either::Second(memory)) => {
            pool.hard_memory = memory.hard.into_value().map(|size| size.0);
            pool.recycling.soft_memory = memory.soft.into_value().map(|size| size.0);
        }
    }
    if let Some(spec) = spec.restart.into_value() {
        restart(spec, &mut pool.restart);
    }
    // Errors of single values were reported at their places. The others are reported at the name of the worker.
    let mut found = problems[before..].iter();
    let is_told = is_refused || found.any(|found| found.severity == Severity::Error);
    if !is_told && let Err(error) = pool.check() {
        problems.push(Diagnostic::error(place, error.to_string()));
    }
    is_whole.then_some(pool)
}

/// Reads a size of something in memory as a number of bytes.
fn bytes(field: Field<document::ByteSize>, problems: &mut Problems) -> Option<usize> {
    let place = field.span();
    let bytes = usize::try_from(field.into_value()?.0);
    if let (Err(_), Some(place)) = (bytes, place) {
        let message = "more than this machine can address";
        problems.push(Diagnostic::error(place, message));
    }
    bytes.ok()
}

fn language(spec: &WorkerSpec, problems: &mut Problems) -> WorkerProtocol {
    let format = |format: &Field<LineFormat>| format.get().copied().unwrap_or(LineFormat::Text);
    match spec.protocol.get() {
        Some(ClapWord(Protocol::Lines)) => {
            if let Some(place) = spec.cancel.key() {
                let message = "`cancel` has no effect on a filter";
                problems.push(Diagnostic::error(place, message).help("leave it out"));
            }
            let is_several = spec.concurrency.get().is_some_and(|count| count.0 > 1);
            if let (true, Some(place)) = (is_several, spec.concurrency.key()) {
                let message = "a filter answers one line after another, so its `concurrency` is 1";
                problems.push(Diagnostic::error(place, message).help(
                    "leave it out: `size` starts several filters, and `prefetch` sends lines ahead",
                ));
            }
            WorkerProtocol::Lines {
                input: format(&spec.input),
                output: format(&spec.output),
            }
        }
        // The protocol was refused. Nobody knows which one was meant, so the keys that depend on it are not checked.
        None if spec.protocol.is_present() => WorkerProtocol::Native,
        protocol => {
            for (key, place) in [
                ("input", spec.input.key()),
                ("output", spec.output.key()),
                ("skip_lines", spec.skip_lines.key()),
            ] {
                let Some(place) = place else { continue };
                let message = format!("`{key}` has no effect on a worker that speaks the protocol");
                problems.push(
                    Diagnostic::error(place, message)
                        .help("add `protocol: lines` if it is a filter"),
                );
            }
            let protocol = protocol.map_or(Protocol::Ratchet, |word| word.0);
            if let (false, Some(place)) = (protocol == Protocol::BazelJson, spec.cancel.key()) {
                let message = "`cancel` has no effect on a worker of this protocol";
                problems.push(Diagnostic::error(place, message).help(
                    "leave it out: it is needed only with `protocol: bazel-json`, where a worker does not tell whether it supports it",
                ));
            }
            program::language(protocol, spec.cancel.get().copied().unwrap_or(false))
        }
    }
}

fn size(spec: SizeSpec, problems: &mut Problems) -> Option<Size> {
    let place = spec.min.span();
    let min = spec.min.into_value().map_or(0, |min| min.0);
    let max = spec.max.into_value()?.0;
    if min > max
        && let Some(place) = place
    {
        let message = format!("`min` is {min}, which is more than the `max` of {max}");
        problems.push(Diagnostic::error(place, message).help("lower `min` or raise `max`"));
        return None;
    }
    let mut size = Size::between(min, max);
    size.grow_after = spec.grow_after.into_value().unwrap_or(size.grow_after);
    Some(size)
}

fn restart(spec: RestartSpec, policy: &mut RestartPolicy) {
    let span = |field: Field<document::PositiveDuration>| field.into_value().map(|span| span.0);
    let max = spec.max.into_value();
    policy.intensity = max.map_or(policy.intensity, |max| max.0);
    policy.period = span(spec.within).unwrap_or(policy.period);
    policy.base = span(spec.base).unwrap_or(policy.base);
    policy.cap = span(spec.cap).unwrap_or(policy.cap).max(policy.base);
}
