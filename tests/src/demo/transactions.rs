//! Synthetic card transactions whose fraud probability is known, so that a better model really gets a better AUC.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Numeric features of a transaction, in this order: log of the amount, sine and cosine of the hour, risk of the
/// merchant, log of the distance from home, transactions in the last hour, log of the account's age. All are around
/// zero with a spread of about one.
pub const FEATURES: usize = 7;

/// Countries in which the bank does business; codes are 0 to 39.
pub const COUNTRIES: i64 = 40;

/// Countries of the older export: codes from here on are the new markets.
pub const KNOWN_COUNTRIES: i64 = 36;

/// A code that is no country, as a typing error leaves it; no model knows it.
pub const NO_COUNTRY: i64 = 99;

/// One transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// The numeric features.
    pub features: [f32; FEATURES],
    /// The code of the country.
    pub country: i64,
    /// The probability with which it is fraud.
    pub probability: f64,
    /// Whether it is.
    pub fraud: bool,
}

/// A source of transactions: the same seed gives the same ones.
#[derive(Debug)]
pub struct Transactions {
    rng: StdRng,
}

impl Transactions {
    /// A source of its own.
    #[must_use]
    pub fn new(seed: u64) -> Transactions {
        Transactions {
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A transaction in this country.
    pub fn draw(&mut self, country: i64) -> Transaction {
        let hour = self.rng.random_range(0.0..std::f64::consts::TAU);
        let features = [
            self.normal(),
            hour.sin(),
            hour.cos(),
            self.normal(),
            self.normal(),
            self.normal(),
            self.normal(),
        ];
        let probability = probability(&features, country);
        let fraud = self.rng.random_bool(probability);
        Transaction {
            features: features.map(|value| value as f32),
            country,
            probability,
            fraud,
        }
    }

    /// Transactions from the first `countries` countries, all equally likely.
    pub fn take(&mut self, count: usize, countries: i64) -> Vec<Transaction> {
        (0..count)
            .map(|_| {
                let country = self.rng.random_range(0..countries);
                self.draw(country)
            })
            .collect()
    }

    /// A standard normal number, by the polar method of Marsaglia (1962).
    fn normal(&mut self) -> f64 {
        loop {
            let (x, y): (f64, f64) = (
                self.rng.random_range(-1.0..1.0),
                self.rng.random_range(-1.0..1.0),
            );
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }
}

/// The truth: a part that is linear, so that a plain logistic model is worth something, and interactions that it cannot
/// see (a large amount by night, a far merchant with many transactions, risk that only counts in a young account).
fn probability(features: &[f64; FEATURES], country: i64) -> f64 {
    let [amount, _, night, risk, distance, burst, age] = *features;
    // Some countries carry more risk than others, without any order.
    let country = f64::from((country * 29 % 13) as i32) / 13.0 - 0.5;
    let linear = 0.8 * amount + 0.8 * risk + 1.5 * country;
    let interactions = 1.5 * amount * night + 1.3 * distance * burst - 1.2 * risk * age;
    let logit = -3.0 + linear + interactions;
    1.0 / (1.0 + (-logit).exp())
}

/// The area under the ROC curve: the chance that a fraud scores above an honest one, ties counting half (Mann and
/// Whitney 1947). None when one of the classes is missing or a score is no number.
#[must_use]
pub fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    if scored.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut frauds, mut before) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let size = tied.len() as f64;
        let found = tied.iter().filter(|(_, fraud)| *fraud).count() as f64;
        // Ranks start at 1; equal scores share the middle one.
        ranks += found * (before + (size + 1.0) / 2.0);
        frauds += found;
        before += size;
    }
    let honest = before - frauds;
    (frauds > 0.0 && honest > 0.0)
        .then(|| (ranks - frauds * (frauds + 1.0) / 2.0) / (frauds * honest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scored: &[(f64, bool)], expected: Option<f64>) {
        match (auc(scored), expected) {
            (Some(found), Some(expected)) => {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{found} is not {expected}"
                );
            }
            (found, expected) => assert_eq!(found, expected),
        }
    }

    #[test]
    fn auc_is_the_share_of_pairs_in_the_right_order() {
        check(
            &[(0.1, false), (0.4, false), (0.35, true), (0.8, true)],
            Some(0.75),
        );
        check(&[(0.0, false), (1.0, true)], Some(1.0));
        check(&[(1.0, false), (0.0, true)], Some(0.0));
        check(&[(0.5, false), (0.5, true), (0.5, true)], Some(0.5));
        check(
            &[(0.2, true), (0.2, false), (0.1, false), (0.3, true)],
            Some(0.875),
        );
    }

    #[test]
    fn auc_needs_both_classes_and_numbers() {
        check(&[], None);
        check(&[(0.5, true)], None);
        check(&[(0.5, true), (f64::NAN, false)], None);
    }

    #[test]
    fn the_same_seed_draws_the_same_transactions() {
        let draw = |seed| Transactions::new(seed).take(100, COUNTRIES);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn frauds_are_a_minority_and_happen_as_often_as_they_should() {
        let drawn = Transactions::new(3).take(50_000, COUNTRIES);
        let expected: f64 = drawn.iter().map(|one| one.probability).sum();
        let spread: f64 = drawn
            .iter()
            .map(|one| one.probability * (1.0 - one.probability))
            .sum::<f64>()
            .sqrt();
        let found = drawn.iter().filter(|one| one.fraud).count() as f64;
        // Five standard deviations: once in two million seeds.
        assert!(
            (found - expected).abs() < 5.0 * spread,
            "{found} frauds, {expected} expected"
        );
        assert!((0.05..0.35).contains(&(found / 50_000.0)), "{found}");
    }

    #[test]
    fn features_are_centred_with_a_spread_of_about_one() {
        let drawn = Transactions::new(4).take(20_000, COUNTRIES);
        for index in 0..FEATURES {
            let values = || drawn.iter().map(|one| f64::from(one.features[index]));
            let mean = values().sum::<f64>() / 20_000.0;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!(
                mean.abs() < 0.05 && (0.45..1.1).contains(&variance),
                "{index}: {mean} {variance}"
            );
        }
    }
}
