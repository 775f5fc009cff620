//! Queries and controls of a run in progress: the socket of the run, its server and its clients.
//!
//! ```text
//! `runs show`, `top`, .. --one line of JSON--> socket --thread `live`--> RunHandle --> the loop of the run
//!                        <--one line of JSON--
//! ```
//!
//! The thread reads, checks and writes. The loop receives only questions that were understood, and no more of them than
//! it can answer beside its work. So a client that asks too often, too slowly or nonsense does not hold up the run.

mod additions;
mod client;
mod figures;
mod message;
mod place;
mod question_limiter;
mod server;
mod state;
mod status_text;
mod steering;

pub(crate) use additions::{AdditionRecord, JobAdding};
pub(crate) use client::{AskError, LiveClient};
pub(crate) use figures::LiveFigures;
pub(crate) use message::{
    Added, CancelEffect, Explanation, Finding, LimitChange, LiveState, OutputPiece, Printed,
    Question, RunningNow, WorkersNow,
};
pub(crate) use server::{LiveServer, Served};
pub(crate) use status_text::describe;
pub(crate) use steering::{SteeringChange, SteeringRecord};
