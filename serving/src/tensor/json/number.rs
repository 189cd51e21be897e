//! One number on its way from JSON into the bytes of a datatype.

use std::fmt;

use super::DataError;
use crate::tensor::Datatype;

/// A number of the text, before it is known to fit.
#[derive(Clone, Copy)]
pub(super) enum Number {
    /// An integer, or a boolean as 0 or 1.
    Whole(i128),
    /// Anything with a point or an exponent.
    Real(f64),
}

impl Number {
    /// Appends the number to `bytes` as `datatype`; `index` is its place among the values.
    ///
    /// # Errors
    /// [`DataError`] if it is out of range, or a fraction where an integer is needed.
    pub(super) fn encode(
        self,
        datatype: Datatype,
        index: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let range = || DataError::Range {
            index,
            value: self.to_string(),
            datatype,
        };
        match datatype {
            Datatype::Fp64 => bytes.extend(self.real().to_ne_bytes()),
            Datatype::Fp32 => {
                // Numbers too large for f32 become infinite in the cast; JSON has no other way to infinity.
                let value = self.real() as f32;
                if !value.is_finite() {
                    return Err(range());
                }
                bytes.extend(value.to_ne_bytes());
            }
            // `json::parse` has refused them as a whole.
            Datatype::Fp16 | Datatype::Bf16 => return Err(DataError::BinaryOnly { datatype }),
            Datatype::Bool => {
                let value = self.whole(datatype, index)?;
                if !matches!(value, 0 | 1) {
                    return Err(range());
                }
                bytes.push(u8::from(value == 1));
            }
            Datatype::Uint8 => bytes.push(self.fit(datatype, index)?),
            Datatype::Int8 => bytes.extend(self.fit::<i8>(datatype, index)?.to_ne_bytes()),
            Datatype::Int16 => bytes.extend(self.fit::<i16>(datatype, index)?.to_ne_bytes()),
            Datatype::Int32 => bytes.extend(self.fit::<i32>(datatype, index)?.to_ne_bytes()),
            Datatype::Int64 => bytes.extend(self.fit::<i64>(datatype, index)?.to_ne_bytes()),
        }
        Ok(())
    }

    fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }

    fn fit<T: TryFrom<i128>>(self, datatype: Datatype, index: usize) -> Result<T, DataError> {
        T::try_from(self.whole(datatype, index)?).map_err(|_| DataError::Range {
            index,
            value: self.to_string(),
            datatype,
        })
    }

    fn whole(self, datatype: Datatype, index: usize) -> Result<i128, DataError> {
        /// Beyond 2^53 a double skips whole numbers: the client's number may not be the one that arrived.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Whole(value) => Ok(value),
            Self::Real(value) if value.fract() != 0.0 => Err(DataError::Fraction {
                index,
                value: self.to_string(),
                datatype,
            }),
            Self::Real(value) if value.abs() <= EXACT => Ok(value as i128),
            Self::Real(_) => Err(DataError::Range {
                index,
                value: self.to_string(),
                datatype,
            }),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value:?}"),
        }
    }
}
