//! Hash tables and digests for what is looked up at every command: seeded anew in each process, as the standard ones are, and cheaper where
//! keys are short.

/// A seed of one's own, for tables and digests within this process.
pub(crate) use foldhash::fast::RandomState as State;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// A hash table whose keys are ours or those of whoever sends jobs. Not for what strangers could fill on purpose.
pub(crate) type Table<K, V> = HashMap<K, V, State>;

/// Tells bytes from other bytes, as far as 64 bits can, within this process.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    static STATE: LazyLock<State> = LazyLock::new(State::default);
    STATE.hash_one(bytes)
}
