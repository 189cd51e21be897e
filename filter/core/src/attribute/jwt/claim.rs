//! Reads one claim out of the JSON of a payload, without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The claim at this path; none: not JSON, no such claim, or one that has no bytes.
///
/// Each step finds the text of one member and skips the others, which the parser does without recursion.
pub(super) fn read(json: &[u8], path: &[String]) -> Option<Vec<u8>> {
    let (name, within) = path.split_first()?;
    let claim = within
        .iter()
        .try_fold(member(json, name)?, |object, name| {
            member(object.as_bytes(), name)
        })?;
    bytes(claim).filter(|bytes| !bytes.is_empty())
}

/// The bytes of a claim in JSON.
///
/// The text is read as a slice like the payload: serde_json's reader of texts is another one, and takes 11 KiB of Wasm.
fn bytes(claim: &str) -> Option<Vec<u8>> {
    if !claim.starts_with('[') {
        return scalar(claim);
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(claim.as_bytes()).ok()?;
    let mut joined = Joined::default();
    for element in elements {
        joined.push(&scalar(element.get())?);
    }
    Some(joined.finish())
}

/// The text of a claim that is neither array nor object.
fn scalar(claim: &str) -> Option<Vec<u8>> {
    match claim.as_bytes() {
        b"true" | b"false" => Some(claim.as_bytes().to_vec()),
        [b'"', ..] => serde_json::from_slice(claim.as_bytes())
            .ok()
            .map(String::into_bytes),
        [b'-' | b'0'..=b'9', ..] => number(claim).map(String::into_bytes),
        _ => None,
    }
}

/// The text of a number. serde_json's reading of a fraction of many digits may be one unit off in the last place; the
/// exact one of the standard library would add 14 KiB to the module.
fn number(json: &str) -> Option<String> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    let whole = json != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit());
    // What has 20 digits may or may not fit into 64 bits.
    if whole && (digits.len() < 20 || json.parse::<u64>().is_ok()) {
        return Some(json.to_owned());
    }
    super::decimal(serde_json::from_slice(json.as_bytes()).ok()?)
}

/// The JSON of a member of an object; of several with this name the last one.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let mut json = serde_json::Deserializer::from_slice(object);
    let member = json.deserialize_map(Member(name)).ok()?;
    json.end().ok()?;
    member
}

struct Member<'a>(&'a str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = members.next_key_seed(Is(self.0))? {
            if wanted {
                found = Some(members.next_value::<&RawValue>()?.get());
            } else {
                members.next_value::<IgnoredAny>()?;
            }
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

/// The elements of an array, joined with `,`.
#[derive(Default)]
pub(super) struct Joined {
    text: Option<Vec<u8>>,
}

impl Joined {
    pub(super) fn push(&mut self, element: &[u8]) {
        match &mut self.text {
            // Only the first element has no separator before it.
            None => self.text = Some(element.to_vec()),
            Some(text) => {
                text.push(b',');
                text.extend_from_slice(element);
            }
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.text.unwrap_or_default()
    }
}
