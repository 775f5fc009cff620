//! A worker's section as the settings of a pool.

use std::num::NonZeroU32;
use std::path::Path;

use ratchet_ipc::{HandshakeMode, LineFormat, StrayMode};
use ratchet_runtime::Balance;
use ratchet_runtime::process::{
    Language, PoolConfig, Prefetch, ProcessConfig, Recycling, RestartPolicy, Size,
};

use super::plan::Options;
use super::program;
use super::terms::{count, duration};
use crate::diagnostic::Diagnostic;
use crate::document::{Entry, Node};
use crate::value;

/// The pool of a section; what is wrong was found before, or is told here.
pub(super) fn pool(
    entry: &Entry,
    folder: Option<&Path>,
    options: &Options,
    problems: &mut Vec<Diagnostic>,
) -> Option<PoolConfig> {
    let node = &entry.node;
    let process = node
        .get("command")
        .and_then(|command| program::process(node, command, folder, problems));
    // Without a command there is no pool, but the rest can be wrong all the same.
    let is_whole = process.is_some();
    let process = process.unwrap_or_else(|| ProcessConfig::new("none"));
    let mut pool = PoolConfig::new(&entry.name, process);
    options.pools.apply(&mut pool);
    pool.language = language(node, problems);
    if let (Language::Lines { .. }, Some(lines)) =
        (pool.language, node.get("skip_lines").and_then(count))
    {
        pool.skip_lines = u64::from(lines);
    }
    let word = |key| node.get(key).and_then(Node::text);
    let span = |key| node.get(key).and_then(duration);
    let bytes = |key| node.get(key).and_then(Node::text).and_then(size);
    pool.handshake = match word("handshake") {
        Some("required") => HandshakeMode::Required,
        Some("none") => HandshakeMode::None,
        _ => HandshakeMode::Auto,
    };
    pool.balance = match word("balance") {
        Some("round_robin") => Balance::RoundRobin,
        Some("power_of_two") => Balance::PowerOfTwo,
        Some("affinity") => Balance::Affinity,
        _ => Balance::LeastLoaded,
    };
    pool.limits.stray = match word("stray") {
        Some("fail") => StrayMode::Fail,
        Some("kill") => StrayMode::Kill,
        _ => StrayMode::Log,
    };
    pool.handshake_wait = span("handshake_wait").unwrap_or(pool.handshake_wait);
    pool.start_timeout = span("start_timeout").unwrap_or(pool.start_timeout);
    pool.grace = span("grace").unwrap_or(pool.grace);
    if let Some(bytes) = bytes("max_message").and_then(|bytes| bytes.try_into().ok()) {
        pool.limits.max_message_bytes = bytes;
    }
    if let Some(bytes) = bytes("stderr").and_then(|bytes| bytes.try_into().ok()) {
        pool.stderr_bytes = bytes;
    }
    if let Some(size) = node.get("size").and_then(|node| pool_size(node, problems)) {
        pool.size = size;
    }
    if let Some(prefetch) = node.get("prefetch").and_then(prefetch) {
        pool.prefetch = prefetch;
    }
    if let Some(ping) = node.get("ping") {
        pool.ping = duration(ping);
    }
    pool.concurrency = node
        .get("concurrency")
        .and_then(count)
        .and_then(NonZeroU32::new);
    pool.recycling = Recycling {
        max_jobs: node.get("max_jobs").and_then(count).map(u64::from),
        ttl: span("ttl"),
        idle_ttl: span("idle_ttl"),
        soft_memory: None,
    };
    memory(node, &mut pool);
    restart(node, &mut pool.restart);
    // What is wrong by its shape was told; the rest is said where the worker is named.
    let is_told = problems
        .iter()
        .filter_map(|problem| problem.span)
        .any(|span| node.span.start <= span.start && span.end <= node.span.end);
    if !is_told && let Err(error) = pool.check() {
        problems.push(Diagnostic::error(entry.place, error.to_string()));
    }
    is_whole.then_some(pool)
}

fn language(node: &Node, problems: &mut Vec<Diagnostic>) -> Language {
    let format = |key| match node.get(key).and_then(Node::text) {
        Some("json") => LineFormat::Json,
        _ => LineFormat::Text,
    };
    if node.get("protocol").and_then(Node::text) == Some("lines") {
        return Language::Lines {
            input: format("input"),
            output: format("output"),
        };
    }
    for key in ["input", "output", "skip_lines"] {
        if let Some(entry) = node.entry(key) {
            let message = format!("`{key}` says nothing to a worker that speaks the protocol");
            problems.push(
                Diagnostic::error(entry.place, message)
                    .help("add `protocol: lines` if it is a filter"),
            );
        }
    }
    Language::Native
}

fn pool_size(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Size> {
    if let Some(workers) = count(node) {
        return Some(Size::fixed(workers));
    }
    let max = count(node.get("max")?)?;
    let min = node.get("min").map_or(Some(0), count)?;
    if min > max
        && let Some(node) = node.get("min")
    {
        let message = format!("at least {min} cannot be at most {max}");
        problems.push(Diagnostic::error(node.span, message).help("`min` is not above `max`"));
        return None;
    }
    let mut size = Size::between(min, max);
    if let Some(after) = node.get("grow_after").and_then(duration) {
        size.grow_after = after;
    }
    Some(size)
}

pub(super) fn prefetch(node: &Node) -> Option<Prefetch> {
    value::prefetch(node.text_or_number()?).ok()
}

fn memory(node: &Node, pool: &mut PoolConfig) {
    let Some(memory) = node.get("memory") else {
        return;
    };
    let figure = |node: &Node| node.text().and_then(size);
    pool.hard_memory = figure(memory).or_else(|| memory.get("hard").and_then(figure));
    pool.recycling.soft_memory = memory.get("soft").and_then(figure);
}

fn restart(node: &Node, policy: &mut RestartPolicy) {
    let Some(restart) = node.get("restart") else {
        return;
    };
    let span = |key| restart.get(key).and_then(duration);
    policy.intensity = restart
        .get("max")
        .and_then(count)
        .unwrap_or(policy.intensity);
    policy.period = span("within").unwrap_or(policy.period);
    policy.base = span("base").unwrap_or(policy.base);
    policy.cap = span("cap").unwrap_or(policy.cap).max(policy.base);
}

fn size(text: &str) -> Option<u64> {
    value::size(text).ok()
}
