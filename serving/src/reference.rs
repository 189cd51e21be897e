//! Where the values of a tensor lay when its model was made, and where those lie that are served: what drift is measured
//! by.

use std::fmt;

use half::{bf16, f16};

use crate::tensor::{Datatype, Tensor};

/// Bins of a histogram at the most: each is a series of every model version.
pub const MAX_BINS: usize = 64;

/// A histogram of values, as shares of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Upper bounds of all bins but the last, ascending; a bound belongs to the bin below it.
    bounds: Vec<f64>,
    /// The same as values of the tensor's datatype: 0.1 is another number in 32 bits.
    edges: Vec<f64>,
    /// One more than bounds.
    shares: Vec<f64>,
}

/// Why numbers are no histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// None, or too many.
    #[error("there are {found} bounds, it needs 1 to {}", MAX_BINS - 1)]
    Bounds {
        /// How many there are.
        found: usize,
    },
    /// They do not ascend, or one is no number.
    #[error("bound {index} is {bound}, each must be a number of {datatype} above the one before")]
    Order {
        /// What the tensor is made of.
        datatype: Datatype,
        /// The first that is wrong.
        index: usize,
        /// What it is.
        bound: f64,
    },
    /// Not one more than bounds.
    #[error(
        "there are {found} counts, it needs {wanted}: one for each bound, and one for what is above the last"
    )]
    Counts {
        /// How many there are.
        found: usize,
        /// How many it needs.
        wanted: usize,
    },
    /// It is below zero or no number.
    #[error("count {index} is {count}, each must be 0 or more")]
    Count {
        /// The first that is wrong.
        index: usize,
        /// What it is.
        count: f64,
    },
    /// They have no sum to be shares of.
    #[error("the sum of the counts is {sum}, it must be above 0")]
    Sum {
        /// What it is.
        sum: f64,
    },
}

/// What a value is counted in. It shows as the upper bound, in the form that Prometheus has for `le`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bin {
    /// Values up to this one, and above the bin before.
    UpTo(f64),
    /// Values above all bounds.
    Above,
    /// No numbers. Not part of the shares.
    NotANumber,
}

impl fmt::Display for Bin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(bound) => write!(f, "{bound:?}"),
            Self::Above => f.write_str("+Inf"),
            Self::NotANumber => f.write_str("NaN"),
        }
    }
}

impl Reference {
    /// Of a tensor of a datatype, from upper bounds of all bins but the last, and how many values were in each.
    ///
    /// # Errors
    /// [`ReferenceError`]
    pub fn new(
        datatype: Datatype,
        bounds: Vec<f64>,
        counts: &[f64],
    ) -> Result<Self, ReferenceError> {
        if !(1..MAX_BINS).contains(&bounds.len()) {
            let found = bounds.len();
            return Err(ReferenceError::Bounds { found });
        }
        let edges: Vec<f64> = bounds.iter().map(|it| rounded(datatype, *it)).collect();
        let mut before = f64::NEG_INFINITY;
        for (index, (&bound, &edge)) in bounds.iter().zip(&edges).enumerate() {
            if !edge.is_finite() || edge <= before {
                return Err(ReferenceError::Order {
                    datatype,
                    index,
                    bound,
                });
            }
            before = edge;
        }
        let (found, wanted) = (counts.len(), bounds.len() + 1);
        if found != wanted {
            return Err(ReferenceError::Counts { found, wanted });
        }
        let is_count = |it: f64| it.is_finite() && it >= 0.0;
        if let Some((index, &count)) = counts.iter().enumerate().find(|(_, it)| !is_count(**it)) {
            return Err(ReferenceError::Count { index, count });
        }
        let sum: f64 = counts.iter().sum();
        if !sum.is_finite() || sum <= 0.0 {
            return Err(ReferenceError::Sum { sum });
        }
        let shares = counts.iter().map(|it| it / sum).collect();
        Ok(Self {
            bounds,
            edges,
            shares,
        })
    }

    /// Its bins in their order; the last one is of what is no number.
    pub fn bins(&self) -> impl Iterator<Item = Bin> {
        let bounded = self.bounds.iter().copied().map(Bin::UpTo);
        bounded.chain([Bin::Above, Bin::NotANumber])
    }

    /// What is in each bin, of all values that are numbers: their sum is 1.
    #[must_use]
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// How many values of a tensor are in each of the bins. Whole numbers beyond 2^53 are those next to them.
    #[must_use]
    pub fn count(&self, tensor: &Tensor) -> Vec<u64> {
        let mut counts = vec![0; self.bounds.len() + 2];
        let see = |value: f64| {
            let bin = match value.is_nan() {
                true => self.bounds.len() + 1,
                false => self.edges.partition_point(|edge| *edge < value),
            };
            if let Some(count) = counts.get_mut(bin) {
                *count += 1;
            }
        };
        let bytes = tensor.bytes();
        match tensor.datatype() {
            Datatype::Bool | Datatype::Uint8 => each(bytes, |it| u8::from_ne_bytes(it).into(), see),
            Datatype::Int8 => each(bytes, |it| i8::from_ne_bytes(it).into(), see),
            Datatype::Int16 => each(bytes, |it| i16::from_ne_bytes(it).into(), see),
            Datatype::Int32 => each(bytes, |it| i32::from_ne_bytes(it).into(), see),
            #[allow(clippy::cast_precision_loss, reason = "see above")]
            Datatype::Int64 => each(bytes, |it| i64::from_ne_bytes(it) as f64, see),
            Datatype::Fp16 => each(bytes, |it| f16::from_ne_bytes(it).into(), see),
            Datatype::Bf16 => each(bytes, |it| bf16::from_ne_bytes(it).into(), see),
            Datatype::Fp32 => each(bytes, |it| f32::from_ne_bytes(it).into(), see),
            Datatype::Fp64 => each(bytes, f64::from_ne_bytes, see),
        }
        counts
    }
}

/// The nearest value of a datatype of real numbers; whole ones are compared as they are.
fn rounded(datatype: Datatype, bound: f64) -> f64 {
    match datatype {
        Datatype::Fp16 => f16::from_f64(bound).into(),
        Datatype::Bf16 => bf16::from_f64(bound).into(),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "to round it is what is wanted"
        )]
        Datatype::Fp32 => f64::from(bound as f32),
        _ => bound,
    }
}

fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64, mut see: impl FnMut(f64)) {
    let (elements, _) = bytes.as_chunks();
    elements.iter().for_each(|it| see(read(*it)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor<const N: usize>(datatype: Datatype, elements: &[[u8; N]]) -> Tensor {
        let length = i64::try_from(elements.len()).unwrap();
        Tensor::new(datatype, vec![length], elements.concat()).unwrap()
    }

    #[track_caller]
    fn refused(bounds: &[f64], counts: &[f64], words: &str) {
        let error = Reference::new(Datatype::Bf16, bounds.to_vec(), counts).unwrap_err();
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn values_are_counted_up_to_bounds_as_prometheus_does() {
        let bounds = vec![0.0, 0.5];
        let reference = Reference::new(Datatype::Fp32, bounds, &[1.0, 2.0, 1.0]).unwrap();
        let values = [
            f32::NEG_INFINITY,
            -0.0,
            0.25,
            0.5,
            0.500_001,
            f32::INFINITY,
            f32::NAN,
        ];
        let found = reference.count(&tensor(Datatype::Fp32, &values.map(f32::to_ne_bytes)));
        assert_eq!(found, [2, 2, 2, 1]);
        assert_eq!(reference.shares(), [0.25, 0.5, 0.25]);
        let bins: Vec<_> = reference.bins().map(|it| it.to_string()).collect();
        assert_eq!(bins, ["0.0", "0.5", "+Inf", "NaN"]);
    }

    #[test]
    fn every_datatype_is_read() {
        let one_and_less = [
            tensor(Datatype::Bool, &[[1], [0]]),
            tensor(Datatype::Uint8, &[[255], [0]]),
            tensor(Datatype::Int8, &[1_i8, -1].map(i8::to_ne_bytes)),
            tensor(Datatype::Int16, &[1_i16, -1].map(i16::to_ne_bytes)),
            tensor(Datatype::Int32, &[1_i32, -1].map(i32::to_ne_bytes)),
            tensor(Datatype::Int64, &[1_i64, -1].map(i64::to_ne_bytes)),
            tensor(Datatype::Fp16, &[0x3c00_u16, 0xbc00].map(u16::to_ne_bytes)),
            tensor(Datatype::Bf16, &[0x3f80_u16, 0xbf80].map(u16::to_ne_bytes)),
            tensor(Datatype::Fp32, &[1_f32, -1.0].map(f32::to_ne_bytes)),
            tensor(Datatype::Fp64, &[1_f64, -1.0].map(f64::to_ne_bytes)),
        ];
        for tensor in one_and_less {
            let reference = Reference::new(tensor.datatype(), vec![0.0], &[1.0, 1.0]).unwrap();
            assert_eq!(reference.count(&tensor), [1, 1, 0], "{tensor:?}");
        }
    }

    #[test]
    fn a_value_that_is_written_as_a_bound_belongs_to_its_bin_whatever_it_is_rounded_to() {
        for tensor in [
            tensor(Datatype::Fp16, &[f16::from_f64(0.1).to_ne_bytes()]),
            tensor(Datatype::Bf16, &[bf16::from_f64(0.1).to_ne_bytes()]),
            tensor(Datatype::Fp32, &[0.1_f32.to_ne_bytes()]),
            tensor(Datatype::Fp64, &[0.1_f64.to_ne_bytes()]),
        ] {
            let reference = Reference::new(tensor.datatype(), vec![0.1], &[1.0, 0.0]).unwrap();
            assert_eq!(reference.count(&tensor), [1, 0, 0], "{tensor:?}");
        }
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        refused(&[], &[1.0], "there are 0 bounds, it needs 1 to 63");
        let many: Vec<_> = (0..64).map(f64::from).collect();
        refused(&many, &[], "there are 64 bounds, it needs 1 to 63");
        // 1.001 is 1 in BF16, and 1e39 infinite.
        for bound in [1.0, 0.5, 1.001, 1e39, f64::NAN, f64::INFINITY] {
            let words =
                format!("bound 1 is {bound}, each must be a number of BF16 above the one before");
            refused(&[1.0, bound], &[1.0; 3], &words);
        }
        let words = "there are 2 counts, it needs 3: one for each bound, and one for what is above the last";
        refused(&[1.0, 2.0], &[1.0; 2], words);
        for count in [-1.0, f64::NAN, f64::INFINITY] {
            let words = format!("count 1 is {count}, each must be 0 or more");
            refused(&[1.0], &[1.0, count], &words);
        }
        let words = "the sum of the counts is 0, it must be above 0";
        refused(&[1.0], &[0.0; 2], words);
        let words = "the sum of the counts is inf, it must be above 0";
        refused(&[1.0], &[f64::MAX; 2], words);
    }
}
