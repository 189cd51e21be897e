//! Reads one claim out of the JSON of a payload, without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The claim at this path; none: not JSON, no such claim, or one that has no bytes.
pub(super) fn read(json: &[u8], path: &[String]) -> Option<Vec<u8>> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let claim = match path {
        // Without a name every object would do, and none of them has bytes.
        [] => return None,
        path => Walk::Member(path).deserialize(&mut json).ok()?,
    };
    json.end().ok()?;
    claim.filter(|bytes| !bytes.is_empty())
}

/// What to read of the next value.
#[derive(Clone, Copy)]
enum Walk<'a> {
    /// The member at this path, of an object.
    Member(&'a [String]),
    /// The claim itself.
    Claim,
    /// An element of the claim.
    Element,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<Vec<u8>>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl Walk<'_> {
    fn scalar(self, text: impl FnOnce() -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        match self {
            Self::Member(_) => None,
            Self::Claim | Self::Element => text(),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<Vec<u8>>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.scalar(|| Some(value.to_string().into_bytes())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| Some(value.to_string().into_bytes())))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| Some(value.to_string().into_bytes())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.scalar(|| super::decimal(value).map(String::into_bytes)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(|| Some(value.as_bytes().to_vec())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut joined = match self {
            Self::Claim => Joined::default(),
            Self::Member(_) | Self::Element => {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
        };
        while let Some(element) = elements.next_element_seed(Walk::Element)? {
            joined.push(element.as_deref());
        }
        Ok(joined.finish())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        if let Self::Member([name, within @ ..]) = self {
            let next = match within {
                [] => Walk::Claim,
                within => Walk::Member(within),
            };
            while let Some(wanted) = members.next_key_seed(Is(name))? {
                if wanted {
                    // The last one counts, even where an earlier one held the claim.
                    found = members.next_value_seed(next)?;
                } else {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        } else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        }
        Ok(found)
    }
}

/// Whether the name of a member is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// The elements of an array, joined with `,`; none as soon as one of them has no text.
pub(super) struct Joined {
    /// Whether the next element is the first one, which has no separator before it.
    first: bool,
    text: Option<Vec<u8>>,
}

impl Default for Joined {
    fn default() -> Self {
        Self {
            first: true,
            text: Some(Vec::new()),
        }
    }
}

impl Joined {
    pub(super) fn push(&mut self, element: Option<&[u8]>) {
        self.text = self.text.take().zip(element).map(|(mut text, element)| {
            if !self.first {
                text.push(b',');
            }
            text.extend_from_slice(element);
            text
        });
        self.first = false;
    }

    pub(super) fn finish(self) -> Option<Vec<u8>> {
        self.text
    }
}
