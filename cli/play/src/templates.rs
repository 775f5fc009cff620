//! Templates, as Ansible means them: what is undefined fails unless it is asked for, values keep their types, and the
//! values of variables may be templates themselves.

mod engine;
mod filters;
mod lists;
#[cfg(test)]
mod probes;
mod questions;
mod source;
mod undefined;
mod values;
mod variables;

pub(crate) use engine::{check, check_condition};
pub(crate) use values::text_of;
pub(crate) use variables::{Variables, render};
