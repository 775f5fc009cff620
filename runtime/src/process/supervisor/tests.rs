//! Pools and their supervisor without a process: workers are pipes in memory, time is paused.

mod fake;
mod filters;
mod lives;
mod rest;
mod sharing;
mod sizes;
mod talk;
mod timeouts;
mod work;
