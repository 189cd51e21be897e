//! The bounded state of the ratio.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::likelihood::{Likelihood, average, softplus};
use super::{Counts, GRID_HALF, GRID_STEP, RatioError, RatioInterval, log_split};

/// Distance of two nodes in `log k`: three steps of the prior, so that `log R + log k` only takes values of one table.
const STEP: f64 = STEPS as f64 * GRID_STEP;
const STEPS: i16 = 3;
/// An interval's mass is spread over this many nodes with the weights of Lagrange interpolation.
const STENCIL: usize = 10;
/// Nodes below the one next to the interval.
const BELOW: i16 = STENCIL as i16 / 2 - 1;
/// The lowest split that is kept, as `floor(log k / STEP)`: one canary request to 20 000 of stable.
const FIRST: i16 = -33;
/// The highest, 900 to one: what lies beyond either hardly tells anything of the ratio.
const LAST: i16 = 22;
/// The nodes around all of these.
const NODES: usize = (LAST - FIRST) as usize + STENCIL;
/// The node of the first place.
const ORIGIN: i16 = FIRST - BELOW;

/// What [`super::ratio_interval`] needs to know of the intervals in 65 numbers, however many intervals there were, and
/// without heap: a controller holds tens of thousands. Serialized, it is a checkpoint.
///
/// The mass of an interval is spread over the ten nodes around its `log k` with Lagrange weights, so what is summed is
/// the interpolating polynomial of a smooth function: the relative error of either end and of the most likely ratio is
/// below 1e-6 at any number of events (tested), for it is a property of the spacing and not of the mass. (An end that
/// lies far outside of the prior, at 1e-160, is less exact.)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Checkpoint", try_from = "Checkpoint")]
pub struct RatioSequence {
    bad_canary: f64,
    bad_stable: f64,
    /// Mass by node, from [`ORIGIN`] on.
    mass: [f64; NODES],
}

impl Default for RatioSequence {
    fn default() -> Self {
        Self {
            bad_canary: 0.0,
            bad_stable: 0.0,
            mass: [0.0; NODES],
        }
    }
}

impl RatioSequence {
    /// Adds one interval. One in which an arm had no requests tells nothing and is skipped, and so is one whose split
    /// is beyond 1 to 20 000 or 900 to 1.
    ///
    /// # Errors
    /// The counts cannot be used; nothing is added then.
    pub fn update(&mut self, counts: Counts) -> Result<(), RatioError> {
        counts.check()?;
        let mass = counts.bad_canary + counts.bad_stable;
        if let Some(log_k) = log_split(counts)
            && mass > 0.0
            && self.spread(log_k, mass)
        {
            self.bad_canary += counts.bad_canary;
            self.bad_stable += counts.bad_stable;
        }
        Ok(())
    }

    /// Spreads mass over the nodes around its place; false where it lies beyond the last ones.
    fn spread(&mut self, log_k: f64, mass: f64) -> bool {
        let position = log_k / STEP;
        let floor = position.floor();
        if !(f64::from(FIRST)..=f64::from(LAST)).contains(&floor) {
            return false;
        }
        // In range: `floor` lies between FIRST and LAST.
        let first = (floor as i16 - FIRST) as usize;
        let weights = lagrange(position - floor);
        for (place, weight) in self.mass.iter_mut().skip(first).zip(weights) {
            *place += mass * weight;
        }
        true
    }

    /// The `1 - alpha` confidence sequence and the most likely ratio.
    ///
    /// # Errors
    /// Alpha is not inside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<RatioInterval, RatioError> {
        let nodes = self.nodes();
        let likelihood = Likelihood {
            bad_canary: self.bad_canary,
            bad_stable: self.bad_stable,
            mass: nodes
                .map(|(node, mass)| (f64::from(node) * STEP, mass))
                .collect(),
        };
        likelihood.interval(alpha, |_| self.mixture())
    }

    /// [`Likelihood::mixture`] from the table.
    fn mixture(&self) -> f64 {
        average(|j| {
            let costs = self
                .nodes()
                .map(|(node, mass)| mass * tabled_softplus(j + STEPS * node));
            self.bad_canary * f64::from(j) * GRID_STEP - costs.sum::<f64>()
        })
    }

    /// Nodes that hold something.
    fn nodes(&self) -> impl Iterator<Item = (i16, f64)> {
        let nodes = (ORIGIN..).zip(self.mass);
        nodes.filter(|(_, mass)| *mass != 0.0)
    }
}

/// `softplus(j * GRID_STEP)` for every sum of a ratio of the prior and a node.
fn tabled_softplus(j: i16) -> f64 {
    /// The largest such sum, below 0.
    const WIDEST: usize = (GRID_HALF - STEPS * ORIGIN) as usize;
    static TABLE: LazyLock<[f64; WIDEST + 1]> =
        LazyLock::new(|| std::array::from_fn(|j| softplus(j as f64 * GRID_STEP)));
    let beyond_0 = TABLE
        .get(usize::from(j.unsigned_abs()))
        .copied()
        .unwrap_or(f64::INFINITY);
    if j < 0 {
        beyond_0 + f64::from(j) * GRID_STEP
    } else {
        beyond_0
    }
}

/// The weights of the nodes `-BELOW..` at `fraction` of the way from node 0 to node 1.
fn lagrange(fraction: f64) -> [f64; STENCIL] {
    // The products of the distances below and above each node, so that a node itself divides by nothing.
    let distance = |node: usize| fraction + f64::from(BELOW) - node as f64;
    let mut weights = [1.0; STENCIL];
    let mut below = 1.0;
    for (node, weight) in weights.iter_mut().enumerate() {
        *weight = below * scale(node);
        below *= distance(node);
    }
    let mut above = 1.0;
    for (node, weight) in weights.iter_mut().enumerate().rev() {
        *weight *= above;
        above *= distance(node);
    }
    weights
}

/// `1 / prod (node - other)` over the other nodes.
fn scale(node: usize) -> f64 {
    static SCALES: LazyLock<[f64; STENCIL]> = LazyLock::new(|| {
        std::array::from_fn(|node| {
            let others = (0..STENCIL).filter(|other| *other != node);
            others
                .map(|other| 1.0 / (node as f64 - other as f64))
                .product()
        })
    });
    SCALES.get(node).copied().unwrap_or(0.0)
}

/// The wire form of [`RatioSequence`]; read, it is not yet trusted.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    bad_canary: f64,
    bad_stable: f64,
    /// `(node, mass)`, sorted by node, without those that hold nothing.
    mass: Vec<(i16, f64)>,
    /// Distance of the nodes.
    #[serde(default = "first_step")]
    step: f64,
}

/// Checkpoints that do not say the distance of their nodes were written with this one.
fn first_step() -> f64 {
    0.125
}

impl From<RatioSequence> for Checkpoint {
    fn from(sequence: RatioSequence) -> Self {
        Self {
            bad_canary: sequence.bad_canary,
            bad_stable: sequence.bad_stable,
            mass: sequence.nodes().collect(),
            step: STEP,
        }
    }
}

impl TryFrom<Checkpoint> for RatioSequence {
    type Error = RatioError;

    fn try_from(from: Checkpoint) -> Result<Self, RatioError> {
        let refused = |why| Err(RatioError::Checkpoint(why));
        if !(from.step > 0.0 && from.step.is_finite()) {
            return refused("its nodes have no distance");
        }
        if !from.mass.is_sorted_by(|(a, _), (b, _)| a < b) {
            return refused("its nodes are out of order");
        }
        let masses = from.mass.iter().map(|(_, mass)| *mass);
        let mut numbers = masses.chain([from.bad_canary, from.bad_stable]);
        if !numbers.all(f64::is_finite) || from.bad_canary < 0.0 || from.bad_stable < 0.0 {
            return refused("a number is not finite, or is negative");
        }
        let mut sequence = Self {
            bad_canary: from.bad_canary,
            bad_stable: from.bad_stable,
            ..Self::default()
        };
        for (node, mass) in from.mass {
            let place = node
                .checked_sub(ORIGIN)
                .and_then(|at| sequence.mass.get_mut(usize::try_from(at).ok()?));
            match place {
                // Bit for bit.
                Some(place) if from.step == STEP => *place = mass,
                None if from.step == STEP => return refused("a node is out of range"),
                _ => {
                    sequence.spread(f64::from(node) * from.step, mass);
                }
            }
        }
        Ok(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_reproduce_polynomials_and_a_node_takes_all_of_its_own() {
        for fraction in [0.0, 0.1, 0.5, 0.93] {
            let weights = lagrange(fraction);
            for power in 0..10 {
                let at = |node: usize| (node as f64 - f64::from(BELOW)).powi(power);
                let sum: f64 = (0..STENCIL).map(|node| weights[node] * at(node)).sum();
                let exact = fraction.powi(power);
                assert!((sum - exact).abs() < 1e-8, "{fraction} {power}: {sum}");
            }
        }
        let own = lagrange(0.0).map(|weight| weight.abs() > 1e-12);
        assert_eq!(own.iter().filter(|has| **has).count(), 1);
    }

    #[test]
    fn a_checkpoint_with_other_nodes_is_read() {
        let old = r#"{"badCanary":20.0,"badStable":9.0,"mass":[[-24,15.0],[-23,14.0]]}"#;
        let sequence: RatioSequence = serde_json::from_str(old).expect("restores");
        let list = Likelihood {
            bad_canary: 20.0,
            bad_stable: 9.0,
            mass: vec![(-24.0 * 0.125, 15.0), (-23.0 * 0.125, 14.0)],
        };
        let exact = list.interval(0.05, Likelihood::mixture).expect("usable");
        let read = sequence.interval(0.05).expect("usable");
        assert!((read.lower - exact.lower).abs() < 1e-6 * exact.lower);
    }

    #[test]
    fn a_checkpoint_of_nodes_that_are_none_is_refused() {
        let mut written = serde_json::to_value(RatioSequence::default()).expect("serializes");
        written["mass"] = serde_json::json!([[-2400, 15.0]]);
        assert!(serde_json::from_value::<RatioSequence>(written.clone()).is_err());
        written["mass"] = serde_json::json!([]);
        written["step"] = 0.0.into();
        assert!(serde_json::from_value::<RatioSequence>(written).is_err());
    }

    #[test]
    fn every_sum_of_a_ratio_and_a_node_is_in_the_table() {
        for j in -GRID_HALF..=GRID_HALF {
            for place in 0..NODES as i16 {
                let x = f64::from(j) * GRID_STEP + f64::from(ORIGIN + place) * STEP;
                let tabled = tabled_softplus(j + STEPS * (ORIGIN + place));
                assert!(
                    (tabled - softplus(x)).abs() < 1e-12 * (1.0 + x.abs()),
                    "{x}"
                );
            }
        }
    }
}
