//! The parameters of a request, its inputs and its outputs. Those that change an answer are read or refused by name;
//! a client's own are passed over, as the protocol wants.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::tensor::shorten;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; wide enough for those of JSON and of gRPC.
    Whole(i128),
    /// Any other number.
    Real(f64),
    /// A text, shortened.
    Text(String),
    /// No value that a parameter can have, in words.
    Other(&'static str),
}

/// Why a parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// It has a value that it cannot have.
    #[error("parameter '{key}' is {found}, but must be {wanted}")]
    Value {
        /// Its name.
        key: &'static str,
        /// The value found, shortened.
        found: String,
        /// What it should be, in words.
        wanted: &'static str,
    },
    /// It asks for something that this server does not do.
    #[error("parameter '{key}' is not supported: {why}")]
    Unsupported {
        /// Its name.
        key: &'static str,
        /// Why, and what to do.
        why: &'static str,
    },
}

/// Parameters of one place, which are set one by one.
pub(super) trait Parameters: Default {
    /// Takes one parameter; those of another name than its own are passed over.
    fn set(&mut self, key: &str, value: &Scalar) -> Result<(), ParameterError>;
}

/// How urgent a request is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Time from its arrival until its answer is of no more use.
    pub timeout: Option<Duration>,
    /// 0 is the default of the model, 1 the most urgent, larger numbers less.
    pub priority: u64,
}

/// Parameters of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestParameters {
    pub(super) scheduling: Scheduling,
    /// Whether outputs are binary unless they say otherwise.
    pub(super) binary_data_output: bool,
}

/// Parameters of an input.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InputParameters {
    /// Bytes of the input behind the JSON.
    pub(super) binary_data_size: Option<usize>,
}

/// Parameters of an output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OutputParameters {
    /// Whether it is wanted as binary data.
    pub(super) binary_data: Option<bool>,
}

impl Parameters for RequestParameters {
    fn set(&mut self, key: &str, value: &Scalar) -> Result<(), ParameterError> {
        const SEQUENCE: &str =
            "this server keeps no state between requests, send each request whole";
        let sequence = |key| unsupported(key, SEQUENCE);
        match key {
            "timeout" => {
                let micros = value.unsigned("timeout", "a whole number of microseconds")?;
                // As in Triton, 0 is no timeout.
                self.scheduling.timeout = (micros > 0).then(|| Duration::from_micros(micros));
            }
            "priority" => {
                let wanted = "a whole number, 0 for the default and 1 for the most urgent";
                self.scheduling.priority = value.unsigned("priority", wanted)?;
            }
            "binary_data_output" => self.binary_data_output = value.bool("binary_data_output")?,
            "sequence_id" => return sequence("sequence_id"),
            "sequence_start" => return sequence("sequence_start"),
            "sequence_end" => return sequence("sequence_end"),
            _ => {}
        }
        Ok(())
    }
}

impl Parameters for InputParameters {
    fn set(&mut self, key: &str, value: &Scalar) -> Result<(), ParameterError> {
        const WANTED: &str = "a whole number of bytes";
        if key == "binary_data_size" {
            let size = value.unsigned("binary_data_size", WANTED)?;
            // More than the machine can count is more than any body has.
            self.binary_data_size = Some(usize::try_from(size).unwrap_or(usize::MAX));
        }
        refuse_shared_memory(key)
    }
}

impl Parameters for OutputParameters {
    fn set(&mut self, key: &str, value: &Scalar) -> Result<(), ParameterError> {
        match key {
            "binary_data" => self.binary_data = Some(value.bool("binary_data")?),
            "classification" => {
                return unsupported("classification", "rank the scores in the client");
            }
            _ => {}
        }
        refuse_shared_memory(key)
    }
}

fn refuse_shared_memory(key: &str) -> Result<(), ParameterError> {
    const WHY: &str = "this server shares no memory with its clients, send the data in the request";
    match key {
        "shared_memory_region" => unsupported("shared_memory_region", WHY),
        "shared_memory_offset" => unsupported("shared_memory_offset", WHY),
        "shared_memory_byte_size" => unsupported("shared_memory_byte_size", WHY),
        _ => Ok(()),
    }
}

fn unsupported(key: &'static str, why: &'static str) -> Result<(), ParameterError> {
    Err(ParameterError::Unsupported { key, why })
}

impl Scalar {
    /// A text, of which a message needs no more than this.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(shorten(text))
    }

    fn unsigned(&self, key: &'static str, wanted: &'static str) -> Result<u64, ParameterError> {
        match self {
            Self::Whole(value) => u64::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| self.refuse(key, wanted))
    }

    fn bool(&self, key: &'static str) -> Result<bool, ParameterError> {
        match self {
            Self::Bool(value) => Ok(*value),
            _ => Err(self.refuse(key, "true or false")),
        }
    }

    fn refuse(&self, key: &'static str, wanted: &'static str) -> ParameterError {
        let found = self.to_string();
        ParameterError::Value { key, found, wanted }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "the text '{value}'"),
            Self::Other(value) => f.write_str(value),
        }
    }
}

/// Parameters in JSON: an object or null.
#[derive(Default)]
pub(super) struct Json<P>(pub(super) P);

impl<'de, P: Parameters> Deserialize<'de> for Json<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_map`: its refusal of a string would quote the whole.
        deserializer.deserialize_any(Object(PhantomData)).map(Self)
    }
}

struct Object<P>(PhantomData<P>);

impl<'de, P: Parameters> Visitor<'de> for Object<P> {
    type Value = P;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<P, A::Error> {
        let mut parameters = P::default();
        while let Some(key) = map.next_key::<String>()? {
            let value: Scalar = map.next_value()?;
            parameters.set(&key, &value).map_err(Error::custom)?;
        }
        Ok(parameters)
    }

    fn visit_unit<E: Error>(self) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<P, E> {
        Err(E::custom(
            "invalid type: string, expected parameters as an object",
        ))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

struct Value;

impl<'de> Visitor<'de> for Value {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of a parameter")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Real(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::text(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Result<RequestParameters, String> {
        let parsed = serde_json::from_str::<Json<RequestParameters>>(json);
        parsed
            .map(|Json(parameters)| parameters)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn timeout_and_priority_are_read_and_custom_ones_passed_over() {
        let json = r#"{"timeout": 1500, "mine": {"deep": [1]}, "priority": 18446744073709551615, "binary_data_output": true}"#;
        let scheduling = Scheduling {
            timeout: Some(Duration::from_micros(1500)),
            priority: u64::MAX,
        };
        let wanted = RequestParameters {
            scheduling,
            binary_data_output: true,
        };
        assert_eq!(request(json), Ok(wanted));
        for none in ["null", "{}", r#"{"timeout": 0, "priority": 0}"#] {
            assert_eq!(request(none), Ok(RequestParameters::default()), "{none}");
        }
    }

    #[test]
    fn values_of_another_kind_are_refused_with_what_they_are() {
        for (json, words) in [
            (
                r#"{"timeout": -1}"#,
                "parameter 'timeout' is -1, but must be a whole number of microseconds",
            ),
            (r#"{"timeout": 1.5}"#, "parameter 'timeout' is 1.5, but"),
            (
                r#"{"timeout": "1"}"#,
                "parameter 'timeout' is the text '1', but",
            ),
            (
                r#"{"timeout": [1]}"#,
                "parameter 'timeout' is an array, but",
            ),
            (r#"{"timeout": null}"#, "parameter 'timeout' is null, but"),
            (
                r#"{"timeout": 18446744073709551616}"#,
                "parameter 'timeout' is 1.8446744073709552e19, but",
            ),
            (
                r#"{"priority": true}"#,
                "parameter 'priority' is true, but must be a whole number, 0 for",
            ),
            (
                r#"{"binary_data_output": 1}"#,
                "parameter 'binary_data_output' is 1, but must be true or false",
            ),
            (
                r#"{"sequence_id": 7}"#,
                "parameter 'sequence_id' is not supported: this server keeps no state",
            ),
            (
                r#""text""#,
                "invalid type: string, expected parameters as an object",
            ),
            ("[1]", "expected parameters as an object"),
        ] {
            let error = request(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
