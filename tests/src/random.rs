//! Seeded chance: what a failed test did can be done again.
//!
//! SplitMix64, a dozen lines that need no crate. Not for secrets.

/// Variable that gives a test the seed of an earlier one.
const SEED: &str = "RSQLFLOW_CHAOS_SEED";

/// A source of chance.
#[derive(Debug)]
pub struct Random(u64);

/// The seed that the environment names, or a new one.
///
/// # Panics
/// When the environment names something else than a number.
pub fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} must be a number")),
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        }
    }
}

/// Says the seed at the end of a test that fails.
#[derive(Debug)]
pub struct Told(pub u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the same again: {SEED}={}", self.0);
        }
    }
}

impl Random {
    /// Chance from this seed on.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chances: u64) -> bool {
        self.draw() % 100 < chances
    }
}
