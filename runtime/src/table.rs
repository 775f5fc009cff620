//! Hash tables for what every job is looked up by: its name, its task, its host.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// Seeded at random like those of the standard library, so that names cannot be chosen to collide, and three
/// times as fast with names as short as ours.
pub(crate) type Table<K, V> = HashMap<K, V, RandomState>;

/// A set of names.
pub(crate) type Names<K> = HashSet<K, RandomState>;
