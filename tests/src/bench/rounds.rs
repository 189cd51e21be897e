//! Measurements that take turns: a machine is faster in one minute than in the next, so what is to be compared is
//! measured in small slices, each round in another order, and compared within its round.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// The order of each round: a shuffle, so that nobody always comes after the same one. The same seed gives the same.
#[must_use]
pub fn orders(subjects: usize, rounds: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..subjects).collect();
    (0..rounds)
        .map(|_| {
            order.shuffle(&mut random);
            order.clone()
        })
        .collect()
}

/// What one subject measured, a value for each round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series(pub Vec<f64>);

impl Series {
    /// The value at a quantile (0 to 1, the nearest rank); NaN when there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        // At most `last`: quantiles are at most 1.
        let rank = (quantile * last as f64).round() as usize;
        sorted.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What this is of another one, round by round: most of what disturbs a round disturbs both alike.
    #[must_use]
    pub fn of(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

/// What one subject measured, wave by wave: in each wave, its processes were started anew.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waves(pub Vec<Series>);

impl Waves {
    /// The rounds of all waves.
    #[must_use]
    pub fn all(&self) -> Series {
        Series(self.0.iter().flat_map(|wave| wave.0.clone()).collect())
    }

    /// What this is of another one, round by round (see [`Series::of`]).
    #[must_use]
    pub fn of(&self, other: &Waves) -> Waves {
        let waves = self.0.iter().zip(&other.0);
        Waves(waves.map(|(a, b)| a.of(b)).collect())
    }

    /// The mean of the waves' medians, and its standard error; that is NaN where there are not two waves.
    #[must_use]
    pub fn mean(&self) -> (f64, f64) {
        let count = self.0.len() as f64;
        let medians: Vec<f64> = self.0.iter().map(Series::median).collect();
        let mean = medians.iter().sum::<f64>() / count;
        let squares: f64 = medians.iter().map(|it| (it - mean).powi(2)).sum();
        (mean, (squares / (count - 1.0) / count).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_subject_once_and_orders_differ() {
        let orders = orders(9, 30, 1);
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..9).collect::<Vec<_>>());
        }
        assert!(orders.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_disturbed_round_changes_neither_median_nor_ratio() {
        let a = Series(vec![2.0, 2.2, 20.0, 2.1, 2.0]);
        let b = Series(vec![1.0, 1.1, 10.0, 1.05, 1.0]);
        assert!((a.median() - 2.1).abs() < 1e-9);
        assert!((a.of(&b).median() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn waves_that_differ_make_a_mean_less_sure() {
        let waves = |values: &[f64]| {
            let wave = |it: &f64| Series(vec![*it, 10.0 * it, *it]);
            Waves(values.iter().map(wave).collect())
        };
        let (mean, error) = waves(&[1.0, 1.2, 1.4]).of(&waves(&[1.0, 1.0, 1.0])).mean();
        // The standard deviation is 0.2, of three.
        assert!((mean - 1.2).abs() < 1e-9 && (error - 0.2 / 3_f64.sqrt()).abs() < 1e-9);
        assert_eq!(waves(&[1.0, 1.0]).mean(), (1.0, 0.0));
        assert!(waves(&[1.0]).mean().1.is_nan());
        assert_eq!(waves(&[1.0, 2.0]).all().0.len(), 6);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        assert!(Series::default().median().is_nan());
    }
}
