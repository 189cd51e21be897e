//! Parameters of the query, `application/x-www-form-urlencoded`
//! (<https://url.spec.whatwg.org/#urlencoded-parsing>).

use std::borrow::Cow;

/// The value of the first parameter of this name in the query of a `:path`; none: there is no such parameter.
///
/// The query begins after the first `?` and ends before a `#`. Names and values are decoded: `+` is a space, `%40` is
/// `@`, and a `%` without two hexadecimal digits stands for itself; so `user=a%40b` gives the same bytes as a header
/// `a@b`. A parameter without `=` has an empty value. A value that needs no decoding is borrowed.
pub fn find<'a>(path_with_query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let path = path_with_query.split(|&byte| byte == b'#').next()?;
    let (_, query) = split_once(path, b'?')?;
    query
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| split_once(pair, b'=').unwrap_or((pair, &[])))
        .find(|&(encoded, _)| Decoded(encoded).eq(name.iter().copied()))
        .map(|(_, value)| decode(value))
}

/// What stands before and after the first `separator`.
fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    let (before, after) = bytes.split_at_checked(at)?;
    Some((before, after.get(1..)?))
}

fn decode(encoded: &[u8]) -> Cow<'_, [u8]> {
    if encoded.iter().any(|&byte| matches!(byte, b'+' | b'%')) {
        // The decoded value is never longer than the encoded one, so that this grows but once.
        let mut value = Vec::with_capacity(encoded.len());
        value.extend(Decoded(encoded));
        Cow::Owned(value)
    } else {
        Cow::Borrowed(encoded)
    }
}

/// The decoded bytes of what is left to decode.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let Some(byte) = hex(*high, *low)
        {
            self.0 = rest;
            return Some(byte);
        }
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(if byte == b'+' { b' ' } else { byte })
    }
}

/// The byte that two hexadecimal digits give.
fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = (digit(high)? << 4) | digit(low)?;
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests;
