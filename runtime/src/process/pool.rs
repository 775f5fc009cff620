//! Pools: workers of one kind, kept at the size that the work asks for.

mod config;

pub use config::{Language, PoolConfig, Prefetch, Recycling, RestartPolicy, Size};
