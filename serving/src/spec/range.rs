//! Which whole numbers a model takes, where it takes not all that its datatype holds.

use std::ops::RangeInclusive;

use super::TensorSpec;
use crate::tensor::{Datatype, Tensor};

/// Values that are looked at together.
const PIECE: usize = 256;

/// A value that the model does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value {index} of data ({value}) is out of the range that the model takes, {min} to {max}")]
pub struct OutOfRange {
    /// Row-major index of the value.
    pub index: usize,
    /// The number.
    pub value: i64,
    /// The smallest that the model takes.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

impl TensorSpec {
    /// Whether the model takes all values of a tensor of this datatype.
    ///
    /// # Errors
    /// [`OutOfRange`] of the first that it does not take.
    pub fn check_values(&self, tensor: &Tensor) -> Result<(), OutOfRange> {
        let Some(range) = &self.range else {
            return Ok(());
        };
        let bytes = tensor.bytes();
        let found = match tensor.datatype() {
            Datatype::Uint8 => outside(bytes, u8::from_ne_bytes, range),
            Datatype::Int8 => outside(bytes, i8::from_ne_bytes, range),
            Datatype::Int16 => outside(bytes, i16::from_ne_bytes, range),
            Datatype::Int32 => outside(bytes, i32::from_ne_bytes, range),
            Datatype::Int64 => outside(bytes, i64::from_ne_bytes, range),
            // They have none.
            Datatype::Bool | Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                None
            }
        };
        found.map_or(Ok(()), |(index, value)| {
            Err(OutOfRange {
                index,
                value,
                min: *range.start(),
                max: *range.end(),
            })
        })
    }
}

fn outside<const N: usize, T: Into<i64>>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
    range: &RangeInclusive<i64>,
) -> Option<(usize, i64)> {
    let (values, _) = bytes.as_chunks();
    let inside = |it: &[u8; N]| {
        let value = read(*it).into();
        (*range.start() <= value) & (value <= *range.end())
    };
    // Nearly all are inside. Many are looked at together, which the processor does several at a time.
    let mut pieces = values.chunks(PIECE).enumerate();
    let all = |piece: &[[u8; N]]| piece.iter().fold(true, |all, it| all & inside(it));
    let (number, piece) = pieces.find(|(_, piece)| !all(piece))?;
    let at = piece.iter().position(|it| !inside(it))?;
    Some((number * PIECE + at, read(*piece.get(at)?).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: Datatype, range: RangeInclusive<i64>) -> TensorSpec {
        TensorSpec {
            range: Some(range),
            ..TensorSpec::new("x", datatype, vec![-1])
        }
    }

    #[test]
    fn both_ends_belong_to_the_range_whatever_whole_numbers_are_made_of() {
        fn bytes(datatype: Datatype, values: &[i64]) -> Vec<u8> {
            let width = datatype.size();
            let value = |it: &i64| it.to_le_bytes()[..width].to_vec();
            values.iter().flat_map(value).collect()
        }
        for (datatype, range) in [
            (Datatype::Uint8, 1..=200),
            (Datatype::Int8, -3..=100),
            (Datatype::Int16, -300..=300),
            (Datatype::Int32, -70_000..=70_000),
            (Datatype::Int64, -(1 << 40)..=(1 << 40)),
        ] {
            let spec = spec(datatype, range.clone());
            let check = |values: &[i64]| {
                let shape = vec![i64::try_from(values.len()).unwrap()];
                let tensor = Tensor::new(datatype, shape, bytes(datatype, values)).unwrap();
                spec.check_values(&tensor)
            };
            let (min, max) = range.into_inner();
            assert_eq!(check(&[min, max, 5]), Ok(()), "{datatype}");
            for value in [min - 1, max + 1] {
                let wanted = OutOfRange {
                    index: 2,
                    value,
                    min,
                    max,
                };
                assert_eq!(check(&[min, 5, value, value]), Err(wanted), "{datatype}");
            }
        }
    }

    #[test]
    fn the_first_of_many_is_told() {
        let spec = spec(Datatype::Uint8, 0..=9);
        for index in [0, PIECE - 1, PIECE, 3 * PIECE + 7] {
            let mut bytes = vec![9; 4 * PIECE];
            bytes[index..].fill(10);
            let shape = vec![i64::try_from(bytes.len()).unwrap()];
            let tensor = Tensor::new(Datatype::Uint8, shape, bytes).unwrap();
            let found = spec.check_values(&tensor).unwrap_err();
            assert_eq!((found.index, found.value), (index, 10));
        }
    }

    #[test]
    fn the_whole_of_a_datatype_may_be_a_range_and_without_one_everything_is_taken() {
        let tensor = |value: i64| {
            Tensor::new(Datatype::Int64, vec![], value.to_ne_bytes().to_vec()).unwrap()
        };
        let all = spec(Datatype::Int64, i64::MIN..=i64::MAX);
        let none = TensorSpec::new("x", Datatype::Int64, vec![]);
        for value in [i64::MIN, i64::MAX] {
            assert_eq!(all.check_values(&tensor(value)), Ok(()));
            assert_eq!(none.check_values(&tensor(value)), Ok(()));
        }
    }
}
