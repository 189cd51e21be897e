//! Decodes messages that hold no more than a model can use.
//!
//! An empty entry of a list takes two bytes of a message, but up to 200 in memory: 16 MiB could become gigabytes. So
//! the lists of a request are counted before it is decoded.

use std::{any::TypeId, marker::PhantomData};

use bytes::Buf;
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::proto::{ModelInferRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use crate::{aside::aside, spec::MAX_TENSORS};

/// More parameters than this in one place are refused.
const MAX_PARAMETERS: usize = 64;

/// A dimension takes at most ten bytes. More dimensions than a model can have are refused later, with their number.
const MAX_SHAPE: usize = 32 * 1024;

/// More bytes than this in a list of integers are refused.
const MAX_INTEGERS: usize = 1 << 20;

/// Sends any message, and reads those within bounds.
pub struct Bounded<T, U>(PhantomData<(T, U)>);

/// The reading half of [`Bounded`].
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Bounded<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let broken = || Status::invalid_argument("the request is not a valid message of its type");
        // All of the message is in one piece.
        check_lists::<U>(buf.chunk())?;
        aside(buf.remaining(), || U::decode(buf))
            .map(Some)
            .map_err(|_| broken())
    }
}

/// Those of the messages that have lists.
fn fields<U: 'static>() -> Option<&'static Fields> {
    let it = TypeId::of::<U>();
    if it == TypeId::of::<ModelInferRequest>() {
        Some(&REQUEST)
    } else if it == TypeId::of::<RepositoryModelLoadRequest>()
        || it == TypeId::of::<RepositoryModelUnloadRequest>()
    {
        Some(&CHANGE)
    } else {
        None
    }
}

/// The lists of a message.
struct Fields(&'static [List]);

/// One list: the number of its field, its name, and how much it may hold of what.
struct List(u64, &'static str, usize, Of);

/// What is counted of a list.
enum Of {
    /// Entries, which have lists of their own.
    Entries(&'static Fields),
    /// Bytes of numbers that are written in a byte each and take up to eight in memory, or entries if they come one by
    /// one.
    Bytes,
}

const NONE: Of = Of::Entries(&Fields(&[]));
const REQUEST: Fields = Fields(&[
    List(4, "parameters", MAX_PARAMETERS, NONE),
    List(5, "inputs", MAX_TENSORS, Of::Entries(&INPUT)),
    List(6, "outputs", MAX_TENSORS, Of::Entries(&OUTPUT)),
    List(7, "raw_input_contents", MAX_TENSORS, NONE),
]);
const CHANGE: Fields = Fields(&[List(3, "parameters", MAX_PARAMETERS, NONE)]);
const INPUT: Fields = Fields(&[
    List(3, "bytes of an input's shape", MAX_SHAPE, Of::Bytes),
    List(4, "parameters of an input", MAX_PARAMETERS, NONE),
    List(5, "contents of an input", 1, Of::Entries(&CONTENTS)),
]);
const OUTPUT: Fields = Fields(&[List(2, "parameters of an output", MAX_PARAMETERS, NONE)]);
const CONTENTS: Fields = Fields(&[
    integers(2, "bytes of int_contents: send raw_input_contents instead"),
    integers(
        3,
        "bytes of int64_contents: send raw_input_contents instead",
    ),
    integers(4, "bytes of uint_contents: send raw_input_contents instead"),
    integers(
        5,
        "bytes of uint64_contents: send raw_input_contents instead",
    ),
    List(8, "bytes_contents", MAX_TENSORS, NONE),
]);

const fn integers(field: u64, name: &'static str) -> List {
    List(field, name, MAX_INTEGERS, Of::Bytes)
}

/// Counts the lists of a message that is not decoded yet.
///
/// # Errors
/// [`Status`] with the first list that is too long.
pub fn check_lists<U: 'static>(message: &[u8]) -> Result<(), Status> {
    fields::<U>().map_or(Ok(()), |fields| check(message, fields))
}

/// Counts the entries of the lists. A message that cannot be read is left to the real decoder.
fn check(mut message: &[u8], Fields(lists): &Fields) -> Result<(), Status> {
    let mut counts = [0_usize; 8];
    while let Some((field, content)) = next_field(&mut message) {
        for (count, List(number, name, max, of)) in counts.iter_mut().zip(lists.iter()) {
            if *number != field {
                continue;
            }
            *count += match of {
                Of::Entries(_) => 1,
                Of::Bytes => content.len().max(1),
            };
            if *count > *max {
                return Err(Status::invalid_argument(format!(
                    "the request has more than {max} {name}"
                )));
            }
            if let Of::Entries(entries) = of {
                check(content, entries)?;
            }
        }
    }
    Ok(())
}

/// The number of the next field, and its bytes if it has a length. Nothing at the end, or if the message is broken.
fn next_field<'m>(message: &mut &'m [u8]) -> Option<(u64, &'m [u8])> {
    let key = varint(message)?;
    let skip = |message: &mut &'m [u8], length: usize| -> Option<&'m [u8]> {
        let (content, rest) = message.split_at_checked(length)?;
        *message = rest;
        Some(content)
    };
    let content = match key & 7 {
        0 => varint(message).map(|_| &[][..])?,
        1 => skip(message, 8)?,
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            skip(message, length)?
        }
        5 => skip(message, 4)?,
        // Groups: no message of ours has them, and the decoder refuses or skips them.
        3 | 4 => &[],
        _ => return None,
    };
    Some((key >> 3, content))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{
        super::proto::{
            InferParameter, InferTensorContents, ModelInferRequest,
            model_infer_request::InferInputTensor,
        },
        *,
    };

    fn refusal(request: &ModelInferRequest) -> Option<String> {
        let message = request.encode_to_vec();
        check(&message, &REQUEST)
            .err()
            .map(|status| status.message().to_owned())
    }

    #[test]
    fn lists_are_counted_before_they_are_decoded() {
        let input = InferInputTensor {
            shape: vec![7; 1000],
            ..Default::default()
        };
        let mut request = ModelInferRequest {
            inputs: vec![input; MAX_TENSORS],
            raw_input_contents: vec![vec![1; 300].into(); MAX_TENSORS],
            ..Default::default()
        };
        assert_eq!(refusal(&request), None);
        request.raw_input_contents.push(vec![].into());
        let words = "the request has more than 64 raw_input_contents";
        assert_eq!(refusal(&request).as_deref(), Some(words));
        request.raw_input_contents.clear();
        request.inputs.push(InferInputTensor::default());
        let words = "the request has more than 64 inputs";
        assert_eq!(refusal(&request).as_deref(), Some(words));
        request.inputs.truncate(1);
        for key in 0..=MAX_PARAMETERS {
            let parameters = &mut request.inputs[0].parameters;
            parameters.insert(key.to_string(), InferParameter::default());
        }
        let words = "the request has more than 64 parameters of an input";
        assert_eq!(refusal(&request).as_deref(), Some(words));
    }

    #[test]
    fn integers_that_grow_in_memory_are_bounded() {
        let contents = |count| InferTensorContents {
            int64_contents: vec![1; count],
            fp32_contents: vec![1.0; count],
            ..Default::default()
        };
        let request = |count| ModelInferRequest {
            inputs: vec![InferInputTensor {
                contents: Some(contents(count)),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(refusal(&request(MAX_INTEGERS)), None);
        let words = "the request has more than 1048576 bytes of int64_contents: send raw_input_contents instead";
        assert_eq!(refusal(&request(MAX_INTEGERS + 1)).as_deref(), Some(words));
    }

    #[test]
    fn broken_messages_end_the_count() {
        for message in [
            &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\x2a",
            b"\x2a\x7fx",
            b"\x07",
        ] {
            assert!(check(message, &REQUEST).is_ok());
        }
    }
}
