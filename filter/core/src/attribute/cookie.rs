//! Cookies: reading one from a `Cookie` header, and the `Set-Cookie` header of one that is issued.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The value of the first cookie of this name in the value of a `Cookie` header (RFC 6265, section 4.2.1); none: the
/// header has no such cookie.
///
/// Names are compared with case. Space around names and values does not belong to them, nor do double quotes around a
/// value; a `;` ends a value even within quotes, since no cookie may hold one. What has no `=` is not a cookie.
pub fn find<'a>(header_value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header_value
        .split(|&byte| byte == b';')
        .find_map(|pair| named(pair, name))
}

/// The value of one `name=value`, if it has this name.
fn named<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let (own_name, value) = pair.split_at_checked(equals)?;
    if own_name.trim_ascii() != name {
        return None;
    }
    let value = value.strip_prefix(b"=")?.trim_ascii();
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// Whether a request from another site carries the cookie (RFC 6265bis, section 4.1.2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    /// Only requests from the site itself.
    Strict,
    /// These, and links from elsewhere that lead to the site.
    #[default]
    Lax,
    /// Every request; browsers take it only together with `Secure`.
    None,
}

impl SameSite {
    /// The value of the attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// The attributes of a cookie that is issued, beside those that always stand: `Path=/` and `HttpOnly`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Seconds until the browser forgets it; none: with its session.
    pub max_age: Option<u64>,
    /// Which requests carry it.
    pub same_site: SameSite,
    /// Whether it is sent over TLS only.
    pub secure: bool,
}

/// Why a cookie would not come back: browsers drop it without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CookieError {
    /// The name is not a token.
    #[error(
        "a cookie name is one or more letters, digits or !#$%&'*+-.^_`|~ (RFC 6265, section 4.1.1)"
    )]
    Name,
    /// The name promises what the attributes do not keep.
    #[error("names that begin with __Host- or __Secure- are for secure cookies: set secure")]
    Prefix,
    /// The cookie would end as it begins.
    #[error(
        "a max-age of 0 deletes the cookie: give at least 1 second, or none for the browser's session"
    )]
    MaxAge,
    /// `SameSite=None` without `Secure`.
    #[error("SameSite=None needs secure: browsers refuse the cookie otherwise")]
    SameSite,
}

/// Checks that browsers would keep and return a cookie of this name with these attributes (RFC 6265bis, section 5.7).
///
/// # Errors
/// The first reason why they would not.
pub fn check(name: &str, attributes: &Attributes) -> Result<(), CookieError> {
    let prefixed = |prefix: &str| {
        name.as_bytes()
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    if !is_cookie_name(name) {
        Err(CookieError::Name)
    } else if !attributes.secure && (prefixed("__Host-") || prefixed("__Secure-")) {
        Err(CookieError::Prefix)
    } else if attributes.max_age == Some(0) {
        Err(CookieError::MaxAge)
    } else if !attributes.secure && attributes.same_site == SameSite::None {
        Err(CookieError::SameSite)
    } else {
        Ok(())
    }
}

/// The value of the `Set-Cookie` header that issues a cookie for the whole host (RFC 6265bis, section 4.1.1).
///
/// Nothing is escaped, since cookies have no escapes: the name must have passed [`check`], and the value must be one of
/// our own making for which [`is_cookie_value`] holds.
pub fn set_cookie(name: &str, value: &str, attributes: &Attributes) -> String {
    // Longest tail: `; Path=/; Max-Age=` with 20 digits, `; SameSite=Strict; Secure; HttpOnly`.
    let mut header =
        String::with_capacity(name.len().saturating_add(value.len()).saturating_add(80));
    header.push_str(name);
    header.push('=');
    header.push_str(value);
    header.push_str("; Path=/");
    if let Some(seconds) = attributes.max_age {
        // Writing to a string cannot fail.
        let _ = write!(header, "; Max-Age={seconds}");
    }
    header.push_str("; SameSite=");
    header.push_str(attributes.same_site.as_str());
    if attributes.secure {
        header.push_str("; Secure");
    }
    header.push_str("; HttpOnly");
    header
}

/// Whether this can be the name of a cookie: a token (RFC 9110, section 5.6.2).
pub fn is_cookie_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether this can be the value of a cookie, without quotes (`cookie-octet`, RFC 6265, section 4.1.1).
pub fn is_cookie_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
}

#[cfg(test)]
mod tests;
