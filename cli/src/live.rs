//! Asking a run that goes on, and steering it: the socket of a run, and those who use it.
//!
//! ```text
//! `runs show`, `top`, .. --one line of JSON--> socket --thread `live`--> RunHandle --> the loop of the run
//!                        <--one line of JSON--
//! ```
//!
//! The thread reads, checks and writes; the loop only hears what was understood, and never more often than it can do beside
//! its work. So nobody who asks too much, too slowly or nonsense holds the run up.

mod client;
mod figures;
mod message;
mod place;
mod server;
mod state;
mod status_text;
mod steering;
mod turnstile;

pub(crate) use client::{AskError, LiveClient};
pub(crate) use figures::LiveFigures;
pub(crate) use message::{Became, Explanation, LimitChange, LiveState, Piece, Printed, Question};
pub(crate) use server::{LiveServer, Served};
pub(crate) use status_text::describe;
pub(crate) use steering::{Steered, SteeringRecord};
