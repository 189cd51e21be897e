//! Reads a claim in the form in which Envoy hands it over as a property.

use super::{claim::Joined, decimal};

/// A claim of the verified metadata that Envoy's JWT filter leaves (`payload_in_metadata`), from the bytes of the
/// property: strings raw, numbers as an `f64` in 8 bytes, little-endian, booleans as one byte, lists as serialized pairs
/// whose values are empty. None: no bytes, or an object.
///
/// The bytes bear no type, so the type is told by their shape:
///
/// * 8 bytes that are no text (not UTF-8, or with a control character) are a number;
/// * one byte 0 or 1 is a boolean;
/// * bytes that are exactly a table of serialized pairs are a list, or an object where a pair has a value;
/// * everything else is a string.
///
/// Where this is wrong: a number whose 8 bytes happen to be text is taken for a string of 8 letters. No integer below
/// 2^51 is such a number, and no negative number at all; of the integers up to 2^53 some are, the first one 2^51 +
/// 0x1010_1010_1010, and so are a few fractions. A string is taken for a number only if it has 8 bytes with
/// a control character among them, and for a boolean only if it is U+0000 or U+0001. Integers beyond 2^53 come rounded
/// to a double, which the unverified claim does not.
pub fn property_claim(bytes: &[u8]) -> Option<Vec<u8>> {
    let claim = match pairs(bytes) {
        Some(pairs) => {
            let mut joined = Joined::default();
            for (element, value) in pairs {
                if !value.is_empty() {
                    return None;
                }
                joined.push(&scalar(element)?);
            }
            joined.finish()
        }
        None => scalar(bytes)?,
    };
    (!claim.is_empty()).then_some(claim)
}

/// The text of a claim that is no list.
fn scalar(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes {
        [0] => Some(b"false".to_vec()),
        [1] => Some(b"true".to_vec()),
        bytes => match <[u8; 8]>::try_from(bytes) {
            Ok(number) if !is_text(bytes) => {
                decimal(f64::from_le_bytes(number)).map(String::into_bytes)
            }
            _ => Some(bytes.to_vec()),
        },
    }
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// The pairs of a serialized table (proxy-wasm, `pairs_to_bytes`), if the bytes are exactly one: their number, the two
/// lengths of each, all as little-endian `u32`, then each name and each value with a zero byte after it.
fn pairs(bytes: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (sizes, mut data) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut table = Vec::with_capacity(count);
    for sizes in sizes.chunks_exact(8) {
        let (name, value) = sizes.split_first_chunk::<4>()?;
        let name = take(&mut data, *name)?;
        let value = take(&mut data, *value.first_chunk()?)?;
        table.push((name, value));
    }
    data.is_empty().then(|| table.into_iter())
}

/// Takes a string of this size and the zero byte that ends it.
fn take<'a>(data: &mut &'a [u8], size: [u8; 4]) -> Option<&'a [u8]> {
    let (string, rest) = data.split_at_checked(usize::try_from(u32::from_le_bytes(size)).ok()?)?;
    let (&end, rest) = rest.split_first()?;
    *data = rest;
    (end == 0).then_some(string)
}
