//! Random draws for requests without a key.

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): eight bytes of state,
/// no host call per draw, and every bit of the result is well mixed. It is not for secrets: nobody gains anything by
/// foreseeing which variant the next anonymous request will get.
#[derive(Clone, Copy, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts at `seed`; every seed is as good as any other.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw, uniform over all 64-bit numbers.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn draws_are_those_of_the_reference_implementation() {
        // splitmix64.c by Sebastiano Vigna, seed 1234567.
        let mut generator = SplitMix64::new(1_234_567);
        let draws: Vec<u64> = (0..3).map(|_| generator.draw()).collect();
        assert_eq!(
            draws,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
