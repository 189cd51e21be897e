//! How the new version really is: what a simulated release is given and the judge has to find out.

use serde::Serialize;

use super::engine::Design;

/// How often the canary's requests really fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Truth {
    /// So many times as often as stable's.
    Ratio(f64),
    /// Exactly on the tolerance, where a false rollback is likeliest.
    Tolerance,
    /// Exactly on the line of the last gate, where a false promotion is likeliest.
    LastGate,
    /// Always.
    Outage,
}

/// What should become of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// Within the tolerance: to roll it back is false.
    Promote,
    /// Beyond the last gate: to promote it is false.
    RollBack,
    /// In between: neither is false.
    Either,
}

/// What `serin simulate` tries, in the order of its tables.
pub const TRUTHS: [Truth; 8] = [
    Truth::Ratio(1.0),
    Truth::Tolerance,
    Truth::LastGate,
    Truth::Ratio(1.2),
    Truth::Ratio(1.5),
    Truth::Ratio(2.0),
    Truth::Ratio(5.0),
    Truth::Outage,
];

impl Truth {
    /// By what the probability of each user's request to fail is multiplied, where stable fails with `error_rate`.
    #[must_use]
    pub fn factor(self, design: &Design, error_rate: f64) -> f64 {
        match self {
            Self::Ratio(ratio) => ratio,
            Self::Tolerance => design.tolerance.at(error_rate) / error_rate,
            Self::LastGate => design.last_gate().at(error_rate) / error_rate,
            Self::Outage => f64::INFINITY,
        }
    }

    /// How often all requests of the canary together fail, 0 to 1.
    #[must_use]
    pub fn canary_rate(self, design: &Design, error_rate: f64) -> f64 {
        (self.factor(design, error_rate) * error_rate).min(1.0)
    }

    /// How often a user's request fails on the canary that fails with `rate` on stable, 0 to 1.
    #[must_use]
    pub fn user_rate(self, design: &Design, error_rate: f64, rate: f64) -> f64 {
        match self {
            Self::Outage => 1.0,
            _ => (rate * self.factor(design, error_rate)).min(1.0),
        }
    }

    /// What should become of it. A canary on the tolerance is within it, one on the last gate beyond it.
    #[must_use]
    pub fn wanted(self, design: &Design, error_rate: f64) -> Wanted {
        let rate = self.canary_rate(design, error_rate);
        // A hair for the rounding of a division and a multiplication.
        let hair = 1e-12;
        if rate <= design.tolerance.at(error_rate) + hair {
            Wanted::Promote
        } else if rate + hair >= design.last_gate().at(error_rate) {
            Wanted::RollBack
        } else {
            Wanted::Either
        }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Ratio(1.0) => "healthy, as stable".to_owned(),
            Self::Ratio(ratio) => format!("{ratio}x the errors"),
            Self::Tolerance => "at the tolerance".to_owned(),
            Self::LastGate => "at the last gate".to_owned(),
            Self::Outage => "outage".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{source, text};

    #[test]
    fn what_lies_between_tolerance_and_gate_may_go_either_way() {
        let design = Design::of(&source(&text()).plan);
        let wanted: Vec<_> = TRUTHS
            .iter()
            .map(|truth| truth.wanted(&design, 0.01))
            .collect();
        use Wanted::{Either, Promote, RollBack};
        let expected = [
            Promote, Promote, RollBack, Either, RollBack, RollBack, RollBack, RollBack,
        ];
        assert_eq!(wanted, expected);
        // Of rare errors twice as many lie within the absolute part of the tolerance.
        assert_eq!(Truth::Ratio(2.0).wanted(&design, 0.0005), Promote);
        assert_eq!(Truth::Outage.canary_rate(&design, 0.01), 1.0);
    }
}
