//! Random draws for requests without a key, and the identities that are made of them.

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

/// The value of an issued cookie: 128 random bits as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Of two draws.
    pub fn new(high: u64, low: u64) -> Self {
        let number = (u128::from(high) << 64) | u128::from(low);
        let mut digits = [0; 32];
        for (position, digit) in digits.iter_mut().rev().enumerate() {
            // At most 31 * 4 of 128 bits, and 15.
            let shift = u32::try_from(position).unwrap_or_default().wrapping_mul(4);
            let value = (number.wrapping_shr(shift) & 0xf) as u8;
            *digit = value.wrapping_add(if value < 10 { b'0' } else { b'a' - 10 });
        }
        Self(digits)
    }

    /// The digits.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{SplitMix64, Token};

    #[test]
    fn a_token_is_the_hexadecimal_number() {
        let token = Token::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(token.as_str(), "0123456789abcdeffedcba9876543210");
        assert_eq!(Token::new(0, 0).as_bytes(), [b'0'; 32]);
    }

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
