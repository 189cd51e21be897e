//! Tensor data as JSON: flat or nested, row-major, straight from the text into bytes.
//!
//! Values are checked while they are read, and kept only if there are as many as the shape says: at most four bytes
//! for each byte of text, and none for data of another count.

mod number;

use std::fmt;

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::Error,
};
use serde_json::value::RawValue;

use self::number::Number;
use super::{Datatype, MAX_RANK, Tensor, TensorError, check_shape};

/// Why the data of a tensor is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not an array at all.
    #[error("data must be an array, but it is {found}")]
    NotArray {
        /// What it is, in words.
        found: &'static str,
    },
    /// Nested arrays of different lengths or depths.
    #[error("data is ragged: its nested arrays differ in length or depth")]
    Ragged,
    /// More levels of arrays than any shape can have.
    #[error("data is nested deeper than {MAX_RANK} levels")]
    TooDeep,
    /// Nested, but not as the shape says.
    #[error("data is nested as {nested:?}, but shape says {shape:?}")]
    Nesting {
        /// The lengths found.
        nested: Vec<usize>,
        /// The shape given.
        shape: Vec<i64>,
    },
    /// Fewer values than the shape needs.
    #[error("data holds {found} values, but shape {shape:?} needs {needed}")]
    TooFew {
        /// The number of values found.
        found: usize,
        /// The shape given.
        shape: Vec<i64>,
        /// The number of values needed.
        needed: usize,
    },
    /// More values than the shape needs; the rest is not even read.
    #[error("data holds more values than the {needed} that shape {shape:?} needs")]
    TooMany {
        /// The shape given.
        shape: Vec<i64>,
        /// The number of values needed.
        needed: usize,
    },
    /// A value of another JSON type.
    #[error("value {index} of data is {found}, but {datatype} needs {wanted}")]
    Type {
        /// Row-major index of the value.
        index: usize,
        /// What it is, in words.
        found: &'static str,
        /// The datatype of the tensor.
        datatype: Datatype,
        /// What it should be, in words.
        wanted: &'static str,
    },
    /// A number that the datatype cannot hold.
    #[error("value {index} of data ({value}) is out of range for {datatype}")]
    Range {
        /// Row-major index of the value.
        index: usize,
        /// The number.
        value: String,
        /// The datatype of the tensor.
        datatype: Datatype,
    },
    /// A fraction where an integer is needed.
    #[error("value {index} of data ({value}) is not a whole number, but {datatype} needs one")]
    Fraction {
        /// Row-major index of the value.
        index: usize,
        /// The number.
        value: String,
        /// The datatype of the tensor.
        datatype: Datatype,
    },
    /// A datatype that JSON does not carry.
    #[error(
        "{datatype} has no JSON form: send it as binary data (parameters.binary_data_size, and the length of the JSON \
         in the header Inference-Header-Content-Length)"
    )]
    BinaryOnly {
        /// The datatype of the tensor.
        datatype: Datatype,
    },
    /// Not JSON: only when the text was not checked before.
    #[error("data is not valid JSON")]
    Syntax,
}

/// Reads `data` (flat or nested) as a tensor of `datatype` and `shape`.
///
/// Integers are accepted for floating-point datatypes, whole numbers such as `1.0` or `1e3` for integer ones,
/// 0 and 1 for BOOL.
///
/// # Errors
/// [`TensorError`] with the first thing that is wrong.
pub fn parse(data: &RawValue, datatype: Datatype, shape: Vec<i64>) -> Result<Tensor, TensorError> {
    if !datatype.has_json_form() {
        return Err(DataError::BinaryOnly { datatype }.into());
    }
    let needed = check_shape(&shape)?;
    let keep = counts_to(data.get(), needed);
    let capacity = if keep { needed * datatype.size() } else { 0 };
    let mut sink = Sink {
        datatype,
        needed,
        count: 0,
        keep,
        lengths: [None; MAX_RANK],
        leaf_depth: None,
        bytes: Vec::with_capacity(capacity),
        problem: None,
    };
    let mut text = serde_json::Deserializer::from_str(data.get());
    let read = (Level {
        sink: &mut sink,
        depth: 0,
    })
    .deserialize(&mut text);
    let problem = match (read, sink.problem) {
        (Ok(()), _) => None,
        (Err(_), Some(Problem::TooMany)) => Some(DataError::TooMany {
            shape: shape.clone(),
            needed,
        }),
        (Err(_), Some(Problem::Data(problem))) => Some(problem),
        (Err(_), None) => Some(DataError::Syntax),
    };
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    let nested: Vec<usize> = sink.lengths.iter().map_while(|length| *length).collect();
    if sink.leaf_depth.is_some_and(|depth| depth != nested.len()) {
        return Err(DataError::Ragged.into());
    }
    let flat = nested.len() == 1;
    if !flat
        && !nested
            .iter()
            .map(|&length| i64::try_from(length).ok())
            .eq(shape.iter().map(|&size| Some(size)))
    {
        return Err(DataError::Nesting { nested, shape }.into());
    }
    if sink.count != needed {
        return Err(DataError::TooFew {
            found: sink.count,
            shape,
            needed,
        }
        .into());
    }
    Tensor::new(datatype, shape, sink.bytes)
}

/// Whether `text`, valid JSON, may hold `needed` values. If not, it is refused for certain.
///
/// Arrays without strings and objects, which are refused, have one comma less than they have values (an empty array
/// among them counts as one, and makes the data ragged). Every value takes two characters with its comma or bracket,
/// which only strings of commas break.
fn counts_to(text: &str, needed: usize) -> bool {
    let commas = text.bytes().filter(|&byte| byte == b',').count();
    commas + 1 == needed && needed <= text.len() / 2
}

/// The elements of a tensor as one flat JSON array.
pub struct Values<'a>(pub &'a Tensor);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.bytes();
        match self.0.datatype() {
            Datatype::Bool => serializer.collect_seq(bytes.iter().map(|&byte| byte != 0)),
            Datatype::Uint8 => serializer.collect_seq(bytes),
            Datatype::Int8 => serializer.collect_seq(elements(bytes).map(i8::from_ne_bytes)),
            Datatype::Int16 => serializer.collect_seq(elements(bytes).map(i16::from_ne_bytes)),
            Datatype::Int32 => serializer.collect_seq(elements(bytes).map(i32::from_ne_bytes)),
            Datatype::Int64 => serializer.collect_seq(elements(bytes).map(i64::from_ne_bytes)),
            Datatype::Fp16 | Datatype::Bf16 => Err(S::Error::custom("it has no JSON form")),
            Datatype::Fp32 => serializer.collect_seq(elements(bytes).map(f32::from_ne_bytes)),
            Datatype::Fp64 => serializer.collect_seq(elements(bytes).map(f64::from_ne_bytes)),
        }
    }
}

/// Whether every value has a JSON form: NaN and the infinities have none.
#[must_use]
pub fn is_representable(tensor: &Tensor) -> bool {
    match tensor.datatype() {
        Datatype::Fp32 => elements(tensor.bytes())
            .map(f32::from_ne_bytes)
            .all(f32::is_finite),
        Datatype::Fp64 => elements(tensor.bytes())
            .map(f64::from_ne_bytes)
            .all(f64::is_finite),
        _ => true,
    }
}

fn elements<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> {
    bytes.as_chunks::<SIZE>().0.iter().copied()
}

enum Problem {
    Data(DataError),
    TooMany,
}

struct Sink {
    datatype: Datatype,
    needed: usize,
    count: usize,
    /// Whether the values are stored; if not, they are only read for the reason why they are refused.
    keep: bool,
    /// Length of the arrays at each depth, once one has ended.
    lengths: [Option<usize>; MAX_RANK],
    /// Number of arrays around the values, once there is one.
    leaf_depth: Option<usize>,
    bytes: Vec<u8>,
    problem: Option<Problem>,
}

/// One level of nesting; serde asks it what to do with whatever stands there.
struct Level<'s> {
    sink: &'s mut Sink,
    depth: usize,
}

impl Level<'_> {
    /// serde's own errors can only be text, so the real one waits in the sink.
    fn refuse<E: serde::de::Error>(self, problem: DataError) -> E {
        self.sink.problem = Some(Problem::Data(problem));
        E::custom("refused")
    }

    fn wrong_type<E: serde::de::Error>(self, found: &'static str) -> E {
        if self.depth == 0 {
            return self.refuse(DataError::NotArray { found });
        }
        let wanted = match self.sink.datatype {
            Datatype::Bool => "true or false",
            Datatype::Fp32 | Datatype::Fp64 => "a number",
            _ => "a whole number",
        };
        let (index, datatype) = (self.sink.count, self.sink.datatype);
        self.refuse(DataError::Type {
            index,
            found,
            datatype,
            wanted,
        })
    }

    fn push<E: serde::de::Error>(self, number: Number) -> Result<(), E> {
        if self.depth == 0 {
            return Err(self.wrong_type("a number"));
        }
        if *self.sink.leaf_depth.get_or_insert(self.depth) != self.depth {
            return Err(self.refuse(DataError::Ragged));
        }
        if self.sink.count == self.sink.needed {
            self.sink.problem = Some(Problem::TooMany);
            return Err(E::custom("refused"));
        }
        match number.encode(self.sink.datatype, self.sink.count, &mut self.sink.bytes) {
            Ok(()) => self.sink.count += 1,
            Err(problem) => return Err(self.refuse(problem)),
        }
        if !self.sink.keep {
            self.sink.bytes.clear();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor data")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.depth == MAX_RANK {
            return Err(self.refuse(DataError::TooDeep));
        }
        let mut length = 0;
        while items
            .next_element_seed(Level {
                sink: self.sink,
                depth: self.depth + 1,
            })?
            .is_some()
        {
            length += 1;
        }
        if *self.sink.lengths[self.depth].get_or_insert(length) != length {
            return Err(self.refuse(DataError::Ragged));
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        if self.sink.datatype != Datatype::Bool {
            return Err(self.wrong_type("a boolean"));
        }
        self.push(Number::Whole(i128::from(value)))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.push(Number::Whole(i128::from(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.push(Number::Whole(i128::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.push(Number::Real(value))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.wrong_type("a string"))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(self.wrong_type("null"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.wrong_type("an object"))
    }
}

#[cfg(test)]
mod tests;
