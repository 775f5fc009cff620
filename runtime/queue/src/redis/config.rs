//! Where a queue is, and how it is made.

use std::fmt;

use crate::clock::DrivenClock;
use crate::engine::QueueSettings;

/// Where a queue on a server is, and with which settings it is made.
#[derive(Clone)]
pub struct RedisConfig {
    /// The address: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `redis+unix:///PATH`.
    pub url: String,
    /// The name of the queue. Several can be on one server.
    pub queue: String,
    /// The settings with which the queue is made, if it is not there yet.
    pub settings: QueueSettings,
    /// A clock that a test drives, instead of that of the server.
    pub clock: Option<DrivenClock>,
}

impl RedisConfig {
    /// Describes a queue with default settings.
    pub fn new(url: &str, queue: &str) -> Self {
        Self {
            url: url.to_owned(),
            queue: queue.to_owned(),
            settings: QueueSettings::default(),
            clock: None,
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Formats it without the address, which may contain a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisConfig")
            .field("queue", &self.queue)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
