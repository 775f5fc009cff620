//! `ratchet` as it is called from a shell.
#![cfg(target_os = "linux")]

mod cache;
mod check;
mod pages;
mod pipes;
mod runs;
mod settings;
mod terminal;
mod worker;
