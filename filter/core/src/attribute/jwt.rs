//! Claims of a JSON Web Token (RFC 7519): unverified from the `Authorization` header, or verified from the proxy's own
//! metadata. The same claim gives the same bytes both ways, so that users keep their bucket when verification is
//! switched on; [`property_claim`] says where that cannot be.
//!
//! | claim | bytes |
//! |---|---|
//! | string | itself, in UTF-8 |
//! | number | shortest text that names the same double; whole numbers without point and exponent: `1.0` and `1` are `1`, `1E-7` is `1e-7` |
//! | boolean | `true` or `false` |
//! | array of these | the elements, joined with `,` |
//! | null, object, empty, anything else | none |

use base64ct::{Base64UrlUnpadded, Encoding};

mod claim;
mod property;

pub use property::property_claim;

/// Longest token that is looked at, in bytes. Proxies bound all headers together (Envoy: 60 KiB), and issuers stay far
/// below; this bounds what a stranger can make the filter decode.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A claim of the bearer token in the value of an `Authorization` header (RFC 6750, section 2.1), whose signature
/// **nobody has checked**: anyone can claim anything, which is good enough to choose a variant that everyone may see,
/// and for nothing else.
///
/// `claim` is the name of a claim, followed by the names of members within it. None: not a bearer token, longer than
/// [`MAX_TOKEN`], not three parts with JSON in the second (RFC 7515, section 7.1), or no such claim. Of members with
/// the same name the last one counts (RFC 7519, section 4). Integers of 64 bits keep every digit.
///
/// All but the claim is skipped, in one pass for each name: no tree is built, so that neither memory nor stack depends
/// on what a stranger nests.
pub fn bearer_claim(authorization: &[u8], claim: &[String]) -> Option<Vec<u8>> {
    let token = bearer_token(authorization)?;
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // Padding has no place in a token, but some issuers write it.
    let mut payload = payload.to_vec();
    while payload.last() == Some(&b'=') {
        payload.pop();
    }
    claim::read(
        Base64UrlUnpadded::decode_in_place(&mut payload).ok()?,
        claim,
    )
}

/// What follows the scheme, which is written in any case.
fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.trim_ascii_start().split_at_checked(6)?;
    let spaced = rest.first().is_some_and(|&byte| byte == b' ');
    (spaced && scheme.eq_ignore_ascii_case(b"bearer")).then(|| rest.trim_ascii())
}

/// The shortest text that names this double; `-0` is `0`. None: not a number of JSON.
///
/// A whole number that an `i64` holds is written as such, so that both forms of a claim give the same bytes; the rest as
/// serde_json writes it, which is in the module anyway (the formatting of the standard library would add 12 KiB).
fn decimal(number: f64) -> Option<String> {
    const WHOLE: f64 = 9e18;
    if number.abs() < WHOLE && number.trunc() == number {
        return Some((number as i64).to_string());
    }
    number
        .is_finite()
        .then(|| zmij::Buffer::new().format_finite(number).to_owned())
}

#[cfg(test)]
mod tests;
