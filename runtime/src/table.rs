//! Hash tables for lookups that are made for every job: by its id, its task, its host.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// A hash table that is seeded at random like those of the standard library, so that nobody can choose names that
/// collide. It is three times as fast with names as short as ours.
pub(crate) type Table<K, V> = HashMap<K, V, RandomState>;

/// A set of names.
pub(crate) type Names<K> = HashSet<K, RandomState>;
