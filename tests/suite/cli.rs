//! `ratchet` as it is called from a shell.
#![cfg(target_os = "linux")]

mod ansible;
mod breakers;
mod cache;
mod check;
mod columns;
mod files;
mod filters;
mod hostile;
mod hosts;
mod idle;
mod inputs;
mod inventory;
mod items;
mod job_control;
mod junit;
mod kept_output;
mod limits;
mod lossless;
mod lost_hosts;
mod map;
mod mistakes;
mod outputs;
mod pages;
mod pipes;
mod play;
mod play_run;
mod recipes;
mod resume;
mod run;
mod runs;
mod settings;
mod terminal;
mod told;
mod tty;
mod worker;
