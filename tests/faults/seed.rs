//! The seed of a run: from the environment, or made up and printed.

use rand::SeedableRng;
use rand::rngs::StdRng;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

static SEED: OnceLock<u64> = OnceLock::new();

/// The seed of this run: `SEED`, where it is set.
///
/// # Panics
/// It is set to something that is no whole number.
pub(crate) fn seed() -> u64 {
    *SEED.get_or_init(|| {
        let given = std::env::var("SEED").ok().filter(|text| !text.is_empty());
        let seed = given.map_or_else(rand::random, |text| text.parse().expect("SEED is a whole number"));
        eprintln!("SEED={seed} repeats this run");
        seed
    })
}

/// Dice for one scene: the same for the same seed, whichever scenes run besides.
pub(crate) fn dice(scene: &str) -> StdRng {
    let mut hasher = DefaultHasher::new();
    (seed(), scene).hash(&mut hasher);
    StdRng::seed_from_u64(hasher.finish())
}
