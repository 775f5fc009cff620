//! `ratchet` as it is called from a shell.
#![cfg(target_os = "linux")]

mod cache;
mod check;
mod idle;
mod inputs;
mod junit;
mod lossless;
mod map;
mod mistakes;
mod outputs;
mod pages;
mod pipes;
mod recipes;
mod resume;
mod run;
mod runs;
mod settings;
mod terminal;
mod worker;
