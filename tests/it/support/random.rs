//! Repeatable randomness for the oracles.

/// xorshift64*: the same seed makes the same requests.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // Zero would stay zero.
        Random(seed.max(1))
    }

    /// The seed in this environment variable, if it is set.
    pub fn seed(variable: &str) -> Option<u64> {
        std::env::var(variable).ok().and_then(|seed| seed.parse().ok())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % end
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}
