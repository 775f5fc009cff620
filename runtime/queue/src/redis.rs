//! The engine on Redis or Valkey.
//!
//! Each call of the engine is one function, which the server runs as one step: all claims of a job are taken together with its
//! place on a node, or none is. The functions stand in `redis/scripts`; `prelude.lua` there describes the keys. They are one
//! library, whose name tells its text: it is loaded at the first call, and again when the server has forgotten it. It stays on the
//! server until somebody removes it (`FUNCTION LIST`, `FUNCTION DELETE`), and each version of ratchet has its own.
//!
//! # What it costs
//!
//! A claim looks only at the first job of each lane that may lack nothing, and a lane that lacks something waits at the gate
//! that bars it. So neither the length of the queue nor the number of busy hosts matters. As in the scheduler, three numbers
//! are assumed to be small: classes of jobs, the different numbers of units taken of one resource, and the lanes that share a
//! limit while all of them are blocked by something else. What needs many jobs at once (the end of a job that a million others
//! need) is one long step.
//!
//! A step reads each record once, and writes what has changed at its end, many values with one command. So a job that claims nothing
//! costs six commands from its submission to its end, if many are moved at a time.
//!
//! # What it asks of the server
//!
//! - Redis 7.0 or Valkey, by one address. In a cluster, all keys of a queue are in one slot, because they share a hash tag.
//! - The policy `noeviction`: a server that drops keys drops jobs and locks. Another policy is refused.
//! - An append-only file, or what runs is lost with the server. Without one, connecting logs a warning.
//! - A user that may call `FCALL`, `FUNCTION LOAD`, `INFO` and what the functions call, on keys and channels of the queue:
//!   `ACL SETUSER ratchet on >PASSWORD ~ratchet:* &ratchet:* +@all -@admin -@dangerous +info`.
//! - Memory for what waits. A server without memory takes no more jobs. Claims and ends go on, since ends free memory.
//!
//! # What is not promised
//!
//! Redis replicates asynchronously and may lose its latest steps in a failover or a crash. A job may then run again although
//! its end was told, and its fence tells: the queue counts an epoch for each such moment, which it notices by the replication
//! id when somebody connects. For one session after it, nothing is granted but jobs without claims, and all rate buckets start
//! empty. So what was granted before and is forgotten has ended by then, if its node ends what it runs when it cannot renew.

mod config;
mod connection;
mod encoding;
mod payload;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::{Engine, QueueSettings};
use crate::error::Error;
use crate::event::{Cursor, Event};
use crate::inspect::{Explanation, JobPage, NodeInfo};
use crate::job::{
    Cancelled, Declaration, JobSpec, JobState, Purged, QueueStatus, Requeued, Submitted,
};
use crate::names::{JobName, NodeId};
use crate::node::{Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal};
pub use config::{Password, RedisConfig};
use connection::Connection;
use encoding::Arguments;

/// How many jobs, claims or events one script moves at most. It bounds how long a script keeps others waiting.
const BATCH: usize = 500;
/// After how many bytes of payloads or results a script moves no more of them. One alone may be larger.
const BATCH_BYTES: usize = 4 << 20;

/// Splits values into parts that one script moves each.
fn batches<T>(mut values: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut batches = Vec::new();
    while !values.is_empty() {
        let mut bytes = 0;
        let is_within = |value: &&T| {
            bytes += size(value);
            bytes <= BATCH_BYTES
        };
        let count = values.iter().take(BATCH).take_while(is_within).count();
        let (batch, rest) = values.split_at(count.max(1));
        batches.push(batch);
        values = rest;
    }
    batches
}

/// A queue on a server of Redis or Valkey.
///
/// It keeps one connection, which all calls share. When that breaks, the call fails with [`Error::Unreachable`], and the next
/// one connects again. Whoever gets this error does not know whether the step was done. All steps can be repeated, except a
/// claim: what it took goes back with the next [`renew`](Engine::renew).
///
/// ```no_run
/// # async fn example() -> Result<(), ratchet_queue::Error> {
/// use ratchet_queue::{Engine, JobSpec, RedisConfig, RedisEngine};
///
/// let queue = RedisEngine::connect(RedisConfig::new("redis://127.0.0.1/", "nightly")).await?;
/// let job = JobSpec::new("tables".parse()?, "dump");
/// queue.submit(&[job]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisEngine {
    connection: Connection,
    settings: QueueSettings,
}

impl RedisEngine {
    /// Connects to the server, and makes the queue if it is not there yet.
    pub async fn connect(config: RedisConfig) -> Result<Self, Error> {
        config.settings.check()?;
        let (connection, settings) = Connection::open(config).await?;
        Ok(Self {
            connection,
            settings,
        })
    }

    /// Returns the settings of the queue, which are those of whoever made it.
    pub fn settings(&self) -> QueueSettings {
        self.settings
    }

    /// Reads what a claim returned, and ends jobs whose payloads are damaged.
    async fn claimed(&self, answer: redis::Value, node: NodeId) -> Result<Claims, Error> {
        let (claims, damaged) = reply::claims(answer, node, self.settings.max_payload)?;
        if !damaged.is_empty() {
            // Whoever claimed such a job again would find the same.
            self.finish(node, &damaged).await?;
        }
        Ok(claims)
    }
}

#[async_trait]
impl Engine for RedisEngine {
    async fn declare(&self, declarations: &[Declaration]) -> Result<(), Error> {
        declarations.iter().try_for_each(Declaration::check)?;
        let mut arguments = Arguments::new("declare");
        arguments.list(declarations, Arguments::declaration);
        reply::declared(self.connection.step(arguments).await?, declarations)
    }

    async fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<Submitted>, Error> {
        jobs.iter().try_for_each(JobSpec::check)?;
        self.settings.check_payloads(jobs)?;
        let mut answers = Vec::with_capacity(jobs.len());
        for jobs in batches(jobs, |job| job.payload.len()) {
            let mut arguments = Arguments::new("submit");
            for job in arguments.counted(jobs) {
                arguments.job(job, self.settings.ageing)?;
            }
            let answer = self.connection.step_with_memory(arguments).await?;
            answers.extend(reply::each(answer, reply::submitted)?);
        }
        Ok(answers)
    }

    async fn join(&self, node: &NodeSpec) -> Result<Membership, Error> {
        node.check()?;
        let mut arguments = Arguments::new("join");
        arguments.node(node);
        let membership = reply::membership(self.connection.step(arguments).await?)?;
        self.connection.listen(membership.node).await?;
        Ok(membership)
    }

    async fn claim(&self, node: NodeId, slots: u32, most: usize) -> Result<Claims, Error> {
        let mut arguments = Arguments::new("claim");
        arguments.claim(node, slots, most.min(BATCH), BATCH_BYTES);
        let answer = self.connection.step(arguments).await?;
        self.claimed(answer, node).await
    }

    async fn exchange(
        &self,
        node: NodeId,
        ends: &[Finish],
        slots: u32,
        most: usize,
    ) -> Result<(Vec<FinishResult>, Claims), Error> {
        let is_one_step = batches(ends, Finish::result_len).len() == 1;
        if !is_one_step || ends.iter().any(|end| self.settings.is_too_large(end)) {
            let results = self.finish(node, ends).await?;
            return Ok((results, self.claim(node, slots, most).await?));
        }
        let mut arguments = Arguments::new("exchange");
        arguments.list(ends, Arguments::finish);
        arguments.claim(node, slots, most.min(BATCH), BATCH_BYTES);
        let answer = self.connection.step(arguments).await?;
        let (results, claimed) = reply::exchanged(answer)?;
        let results = reply::each(results, reply::finished)?;
        if results.len() != ends.len() {
            return Err(reply::short());
        }
        Ok((results, self.claimed(claimed, node).await?))
    }

    async fn wait(&self, node: NodeId, most: Duration) -> Result<(), Error> {
        self.connection.wait(node, most).await;
        Ok(())
    }

    async fn renew(&self, node: NodeId, held: &[(JobName, Fence)]) -> Result<Renewal, Error> {
        let mut arguments = Arguments::new("renew");
        arguments.number(node.0);
        arguments.list(held, |arguments, (job, fence)| {
            arguments.attempt(job, *fence);
        });
        reply::renewal(self.connection.step(arguments).await?)
    }

    async fn finish(&self, _node: NodeId, ends: &[Finish]) -> Result<Vec<FinishResult>, Error> {
        let small: Vec<&Finish> = (ends.iter())
            .filter(|end| !self.settings.is_too_large(end))
            .collect();
        let mut told = Vec::with_capacity(small.len());
        for ends in batches(&small, |end| end.result_len()) {
            let mut arguments = Arguments::new("finish");
            arguments.list(ends, |arguments, end| arguments.finish(end));
            let answer = self.connection.step(arguments).await?;
            told.extend(reply::each(answer, reply::finished)?);
        }
        let (mut told, most) = (told.into_iter(), self.settings.max_payload);
        let answers = ends.iter().map(|end| {
            if self.settings.is_too_large(end) {
                return Ok(FinishResult::TooLarge { most });
            }
            told.next().ok_or_else(reply::short)
        });
        answers.collect()
    }

    async fn progress(
        &self,
        _node: NodeId,
        reports: &[(JobName, Fence, Arc<[u8]>)],
    ) -> Result<(), Error> {
        let mut arguments = Arguments::new("progress");
        arguments.list(reports, |arguments, (job, fence, message)| {
            arguments.attempt(job, *fence);
            arguments.bytes(message);
        });
        self.connection.step_with_memory(arguments).await?;
        Ok(())
    }

    async fn cancel(&self, jobs: &[JobName]) -> Result<Vec<Cancelled>, Error> {
        let mut arguments = Arguments::new("cancel");
        arguments.jobs(jobs);
        let answer = self.connection.step(arguments).await?;
        reply::each(answer, reply::cancelled)
    }

    async fn leave(&self, node: NodeId) -> Result<(), Error> {
        let mut arguments = Arguments::new("leave");
        arguments.number(node.0);
        self.connection.step(arguments).await?;
        self.connection.ignore(node).await
    }

    async fn events(&self, after: Cursor, most: usize) -> Result<Vec<Event>, Error> {
        let mut arguments = Arguments::new("events");
        arguments.number(after.millis);
        arguments.number(after.number);
        arguments.number(most as u64);
        arguments.number(BATCH_BYTES as u64);
        let answer = self.connection.step(arguments).await?;
        reply::events(answer, after, most, self.settings.max_payload)
    }

    async fn latest(&self) -> Result<Cursor, Error> {
        reply::latest(self.connection.step(Arguments::new("latest")).await?)
    }

    async fn states(&self, jobs: &[JobName]) -> Result<Vec<Option<JobState>>, Error> {
        let mut arguments = Arguments::new("states");
        arguments.jobs(jobs);
        let answer = self.connection.step(arguments).await?;
        reply::each(answer, reply::state)
    }

    async fn status(&self) -> Result<QueueStatus, Error> {
        let arguments = Arguments::new("status");
        reply::status(self.connection.step(arguments).await?)
    }

    async fn pause(&self) -> Result<(), Error> {
        self.connection.step(Arguments::new("pause")).await?;
        Ok(())
    }

    async fn resume(&self) -> Result<(), Error> {
        self.connection.step(Arguments::new("resume")).await?;
        Ok(())
    }

    async fn requeue(&self, jobs: &[JobName]) -> Result<Vec<Requeued>, Error> {
        let mut answers = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(BATCH) {
            let mut arguments = Arguments::new("requeue");
            arguments.jobs(jobs);
            let answer = self.connection.step_with_memory(arguments).await?;
            answers.extend(reply::each(answer, reply::requeued)?);
        }
        Ok(answers)
    }

    async fn purge(&self, jobs: &[JobName]) -> Result<Vec<Purged>, Error> {
        let mut answers = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(BATCH) {
            let mut arguments = Arguments::new("purge");
            arguments.jobs(jobs);
            let answer = self.connection.step(arguments).await?;
            answers.extend(reply::each(answer, reply::purged)?);
        }
        Ok(answers)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, Error> {
        let arguments = Arguments::new("nodes");
        reply::each(self.connection.step(arguments).await?, reply::node)
    }

    async fn explain(&self, job: &JobName) -> Result<Option<Explanation>, Error> {
        let mut arguments = Arguments::new("explain");
        arguments.text(job.as_str());
        let answer = self.connection.step(arguments).await?;
        reply::explanation(answer, job, self.settings.max_payload)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&JobName>,
        most: usize,
    ) -> Result<JobPage, Error> {
        let most = most.min(BATCH);
        let mut arguments = Arguments::new("list");
        arguments.text(&match after {
            Some(after) if after.as_str() >= prefix => format!("({after}"),
            _ => format!("[{prefix}"),
        });
        // No byte of a name is as great as this one.
        let mut end = format!("[{prefix}").into_bytes();
        end.push(u8::MAX);
        arguments.bytes(&end);
        arguments.number(most as u64);
        let jobs = reply::each(self.connection.step(arguments).await?, reply::listed)?;
        Ok(JobPage::new(jobs, most))
    }
}
