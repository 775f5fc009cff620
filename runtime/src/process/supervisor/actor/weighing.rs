//! How much memory workers use, and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::roster::Roster;
use super::super::{Command, memory};
use super::Actor;
use crate::worker::Cause;
use crate::worker::orders::Order;

impl Actor {
    /// Has the workers' memory read, where a limit is set and the last reading is old.
    pub(super) fn weigh(&mut self, now: Instant) {
        let limited = |roster: &&Roster| {
            roster.config.hard_memory.is_some() || roster.config.recycling.soft_memory.is_some()
        };
        let limited = self.rosters.iter().filter(limited);
        let members = limited.flat_map(|roster| &roster.members);
        let groups: Vec<u32> = members.filter_map(|member| member.system_id).collect();
        if groups.is_empty() {
            self.weigh_at = None;
            return;
        }
        let due = *self.weigh_at.get_or_insert(now);
        if self.weighing || due > now {
            return;
        }
        self.weighing = true;
        self.weigh_at = now.checked_add(memory::INTERVAL);
        let (probe, commands) = (Arc::clone(&self.probe), self.commands.clone());
        tokio::task::spawn_blocking(move || {
            let weights = probe(&groups).unwrap_or_else(|error| {
                tracing::warn!(%error, "the memory of the workers cannot be read");
                BTreeMap::new()
            });
            if let Some(commands) = commands.upgrade() {
                // A supervisor that has just ended needs no weights.
                let _ = commands.send(Command::Weighed(weights));
            }
        });
    }

    pub(super) fn weighed(&mut self, weights: &BTreeMap<u32, u64>) {
        self.weighing = false;
        for roster in &mut self.rosters {
            let (soft, hard) = (
                roster.config.recycling.soft_memory,
                roster.config.hard_memory,
            );
            for member in &mut roster.members {
                let weight = member.system_id.and_then(|id| weights.get(&id));
                let Some(&used) = weight else { continue };
                member.rss = used;
                if let Some(limit) = hard.filter(|limit| used > *limit) {
                    member.order(Order::Kill(Cause::Memory { used, limit }));
                } else if soft.is_some_and(|limit| used > limit) {
                    member.swollen = true;
                }
            }
        }
    }
}
