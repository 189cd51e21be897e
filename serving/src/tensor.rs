//! Plain tensors: a datatype, a shape and row-major bytes, without any ML library.
//!
//! A [`Tensor`] cannot be wrong once built: its byte length is the product of its shape times the size of one
//! element. The backends rely on it (`tch` reads past the end of a buffer that is too short).

pub mod binary;
pub mod json;

use std::{fmt, ops::RangeInclusive, str::FromStr};

use bytes::Bytes;

/// More dimensions than this are refused: no served model needs them, and every dimension costs a check.
pub const MAX_RANK: usize = 8;

/// More elements than this in one tensor of a request or a model.yaml are refused (128 MiB of FP64).
pub const MAX_ELEMENTS: usize = 1 << 24;

/// The datatypes of the Open Inference Protocol (and Triton's BF16) that libtorch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    Uint8,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE 754, 16 bits; has no JSON form.
    Fp16,
    /// The upper half of an [`Datatype::Fp32`], 16 bits; has no JSON form.
    Bf16,
    /// IEEE 754, 32 bits.
    Fp32,
    /// IEEE 754, 64 bits.
    Fp64,
}

/// Why a datatype name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatatypeError {
    /// The protocol knows it, this server does not serve it.
    #[error(
        "datatype '{name}' is not supported: {why}; use one of {}",
        Datatype::NAMES
    )]
    Unsupported {
        /// The name as it was given.
        name: &'static str,
        /// The reason in words.
        why: &'static str,
    },
    /// Not a name of the protocol.
    #[error("datatype '{name}' is unknown; use one of {}", Datatype::NAMES)]
    Unknown {
        /// The name as it was given, shortened.
        name: String,
    },
}

/// Why a shape or its data is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// More than [`MAX_RANK`] dimensions.
    #[error("shape has {rank} dimensions, at most {MAX_RANK} are allowed")]
    Rank {
        /// Number of dimensions given.
        rank: usize,
    },
    /// A dimension below one.
    #[error("dimension {axis} of the shape is {size}, it must be at least 1")]
    Dimension {
        /// Index of the dimension.
        axis: usize,
        /// Its value.
        size: i64,
    },
    /// More than [`MAX_ELEMENTS`] elements (or more than the machine can count).
    #[error("shape {shape:?} has more than {MAX_ELEMENTS} elements")]
    Elements {
        /// The shape as it was given.
        shape: Vec<i64>,
    },
    /// The bytes do not fit the shape.
    #[error("shape {shape:?} needs {needed} bytes, but there are {found}")]
    Bytes {
        /// The shape as it was given.
        shape: Vec<i64>,
        /// Bytes that the shape asks for.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A byte of a BOOL tensor is neither 0 nor 1.
    #[error("byte {index} of the data is {value}, but BOOL needs 0 or 1")]
    NotBool {
        /// Index of the byte.
        index: usize,
        /// Its value.
        value: u8,
    },
    /// The data in JSON is refused.
    #[error(transparent)]
    Json(#[from] json::DataError),
}

/// A dense row-major tensor in host memory; bytes are in the machine's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    datatype: Datatype,
    shape: Vec<i64>,
    bytes: Bytes,
}

/// Bytes of the elements of all of them.
pub(crate) fn bytes_of(tensors: &[Tensor]) -> usize {
    tensors.iter().map(|it| it.bytes().len()).sum()
}

impl Datatype {
    /// The served datatypes, as they are listed in messages.
    pub const NAMES: &'static str =
        "FP16, BF16, FP32, FP64, INT8, INT16, INT32, INT64, UINT8, BOOL";

    /// The name of the Open Inference Protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
        }
    }

    /// Whether it has real numbers, and not counts or truths.
    #[must_use]
    pub fn is_real(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }

    /// The whole numbers that it holds; none if it is not made of them.
    #[must_use]
    pub fn whole(self) -> Option<RangeInclusive<i64>> {
        match self {
            Self::Uint8 => Some(u8::MIN.into()..=u8::MAX.into()),
            Self::Int8 => Some(i8::MIN.into()..=i8::MAX.into()),
            Self::Int16 => Some(i16::MIN.into()..=i16::MAX.into()),
            Self::Int32 => Some(i32::MIN.into()..=i32::MAX.into()),
            Self::Int64 => Some(i64::MIN..=i64::MAX),
            Self::Bool | Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 => None,
        }
    }

    /// Whether JSON can carry it: the protocol sends half-precision numbers as binary data only.
    #[must_use]
    pub fn has_json_form(self) -> bool {
        !matches!(self, Self::Fp16 | Self::Bf16)
    }

    /// Bytes of one element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Int32 | Self::Fp32 => 4,
            Self::Int64 | Self::Fp64 => 8,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Datatype {
    type Err = DatatypeError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        const UNSIGNED: &str = "libtorch computes on no unsigned integers but UINT8";
        let unsupported = |name, why| Err(DatatypeError::Unsupported { name, why });
        match name {
            "BOOL" => Ok(Self::Bool),
            "UINT8" => Ok(Self::Uint8),
            "INT8" => Ok(Self::Int8),
            "INT16" => Ok(Self::Int16),
            "INT32" => Ok(Self::Int32),
            "INT64" => Ok(Self::Int64),
            "FP16" => Ok(Self::Fp16),
            "BF16" => Ok(Self::Bf16),
            "FP32" => Ok(Self::Fp32),
            "FP64" => Ok(Self::Fp64),
            "UINT16" => unsupported("UINT16", UNSIGNED),
            "UINT32" => unsupported("UINT32", UNSIGNED),
            "UINT64" => unsupported("UINT64", UNSIGNED),
            "BYTES" => unsupported("BYTES", "a TorchScript tensor holds no strings"),
            _ => Err(DatatypeError::Unknown {
                name: shorten(name),
            }),
        }
    }
}

impl Tensor {
    /// A tensor over `bytes`, which must hold exactly the elements of `shape`.
    ///
    /// # Errors
    /// [`TensorError`] if a dimension is negative, the product overflows, or the bytes are too few or too many.
    pub fn new(datatype: Datatype, shape: Vec<i64>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        Self::shared(datatype, shape, bytes.into())
    }

    /// As [`Tensor::new`], over bytes that others may hold too, such as a part of a body.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn shared(datatype: Datatype, shape: Vec<i64>, bytes: Bytes) -> Result<Self, TensorError> {
        let needed = elements(&shape)
            .and_then(|count| count.checked_mul(datatype.size()))
            .ok_or_else(|| TensorError::Elements {
                shape: shape.clone(),
            })?;
        if needed != bytes.len() {
            return Err(TensorError::Bytes {
                shape,
                needed,
                found: bytes.len(),
            });
        }
        Ok(Self {
            datatype,
            shape,
            bytes,
        })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// As [`check_shape`].
    pub fn zeros(datatype: Datatype, shape: Vec<i64>) -> Result<Self, TensorError> {
        let bytes = vec![0; check_shape(&shape)?.saturating_mul(datatype.size())];
        Self::new(datatype, shape, bytes)
    }

    /// The datatype of the elements.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The outermost dimension, which is the rows of a batch; a scalar has none.
    #[must_use]
    pub fn rows(&self) -> Option<i64> {
        self.shape.first().copied()
    }

    /// The elements, row-major, in the machine's byte order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As [`Tensor::bytes`], without a copy and without the tensor.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// The number of elements of a shape that comes from outside, every dimension at least one.
///
/// # Errors
/// [`TensorError`] if the rank, a dimension or the product is out of bounds.
pub fn check_shape(shape: &[i64]) -> Result<usize, TensorError> {
    if shape.len() > MAX_RANK {
        return Err(TensorError::Rank { rank: shape.len() });
    }
    if let Some((axis, &size)) = shape.iter().enumerate().find(|(_, size)| **size < 1) {
        return Err(TensorError::Dimension { axis, size });
    }
    elements(shape)
        .filter(|&count| count <= MAX_ELEMENTS)
        .ok_or_else(|| TensorError::Elements {
            shape: shape.to_vec(),
        })
}

/// A name that a client gave, at most 64 characters of it, for use in a message.
#[must_use]
pub fn shorten(name: &str) -> String {
    clip(name, 64)
}

/// The first `limit` characters of a text: what a client sent goes back to it in messages, but not megabytes of it.
#[must_use]
pub fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn elements(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &size| {
        count.checked_mul(usize::try_from(size).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_the_shape_exactly() {
        for (shape, len) in [
            (vec![2, 3], 23),
            (vec![2, 3], 25),
            (vec![64], 16),
            (vec![-1], 4),
            (vec![i64::MAX, 8], 0),
        ] {
            assert!(
                Tensor::new(Datatype::Fp32, shape.clone(), vec![0; len]).is_err(),
                "{shape:?} {len}"
            );
        }
        assert!(Tensor::new(Datatype::Fp32, vec![2, 3], vec![0; 24]).is_ok());
        assert!(
            Tensor::new(Datatype::Fp64, vec![], vec![0; 8]).is_ok(),
            "a scalar has one element"
        );
    }

    #[test]
    fn shapes_from_outside_are_capped() {
        assert_eq!(check_shape(&[2, 3]), Ok(6));
        assert_eq!(check_shape(&[]), Ok(1));
        assert_eq!(check_shape(&[1; 9]), Err(TensorError::Rank { rank: 9 }));
        assert_eq!(
            check_shape(&[2, 0]),
            Err(TensorError::Dimension { axis: 1, size: 0 })
        );
        assert!(matches!(
            check_shape(&[1 << 32, 1 << 32]),
            Err(TensorError::Elements { .. })
        ));
        assert!(matches!(
            check_shape(&[1 << 25]),
            Err(TensorError::Elements { .. })
        ));
    }

    #[test]
    fn every_served_datatype_is_found_by_its_own_name() {
        for name in Datatype::NAMES.split(", ") {
            assert_eq!(name.parse::<Datatype>().map(Datatype::name), Ok(name));
        }
        for name in ["UINT16", "UINT32", "UINT64", "BYTES"] {
            assert!(
                matches!(
                    name.parse::<Datatype>(),
                    Err(DatatypeError::Unsupported { .. })
                ),
                "{name}"
            );
        }
        assert!(matches!(
            "fp32".parse::<Datatype>(),
            Err(DatatypeError::Unknown { .. })
        ));
    }
}
