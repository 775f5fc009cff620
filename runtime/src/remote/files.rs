//! Files of processes on other hosts: brought there before a process starts, and back when it has succeeded.
//!
//! ```text
//!   FileClient (dispatcher)                                          FileService (agent)
//!   hashes what is to be pushed  ---- manifest: names, digests --->  which contents are missing?
//!   sends what is missing        ---- one stream per content ----->  the store, by digest
//!                                ---- the manifest again --------->  the work folder, copied from the store
//!                                     (the process runs in it)
//!   a folder next to the target  <--- a stream of frames ----------  what is pulled
//!   renames
//! ```
//!
//! Everything is in the cache folder of the host's user: contents in `files`, work folders in `work`, and those that
//! are kept in `kept`. A content is checked when it comes, and gets its name by a rename, so the store never has a
//! partial file. A work folder has copies of the contents, since a hard link would let a job change the store.
//!
//! Each transfer is a stream with a window of its own, so a big file holds up no process. There are at most
//! [`MAX_TRANSFERS`](super::stream::MAX_TRANSFERS) at once.
//!
//! The dispatcher trusts nothing that comes back. A host names the pulled path of an entry by a number, and only
//! chooses the names beneath that path. Entries are written into a new folder next to the target, without following any
//! link, and are renamed when all have come.

mod agent;
mod client;
mod frames;
mod lock;
mod manifest;
mod pieces;
mod read_back;
mod receive;
mod send;
mod session;
mod store;
mod tree;
mod wire;
mod work_folder;

pub(super) use agent::{FileRequest, FileService};
pub(super) use client::{FileClient, RemoteFolder};

#[cfg(test)]
mod tests;
