//! Hash tables for what is looked up at every command: seeded anew in each process, as the standard ones are, and cheaper where
//! keys are short.

use std::collections::HashMap;

/// A hash table whose keys are ours or those of whoever sends jobs. Not for what strangers could fill on purpose.
pub(crate) type Table<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
