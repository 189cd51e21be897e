//! The header by which trusted callers choose a variant.

use std::fmt::Arguments;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{ConfigError, OverrideConfig, SecretConfig};
use crate::route::Request;
use crate::rule::principal;
use crate::table::check::header_name;

/// Who may override, and by which header.
#[derive(Clone, Debug)]
pub struct Overriding {
    header: String,
    principals: Vec<Vec<u8>>,
    secret: Option<Secret>,
}

#[derive(Clone, Debug)]
struct Secret {
    header: String,
    sha256: [u8; 32],
}

impl Overriding {
    pub(crate) fn compile(field: Arguments, config: &OverrideConfig) -> Result<Self, ConfigError> {
        header_name(format_args!("{field}.header"), &config.header)?;
        if config.principals.is_empty() && config.secret.is_none() {
            let reason = "nobody is trusted, so that the header would never be heeded: name principals or a secret";
            return Err(ConfigError::new(field, reason));
        }
        let secret = config.secret.as_ref();
        Ok(Self {
            header: config.header.to_ascii_lowercase(),
            principals: config
                .principals
                .iter()
                .map(|it| it.as_bytes().to_vec())
                .collect(),
            secret: secret
                .map(|it| Secret::compile(format_args!("{field}.secret"), it))
                .transpose()?,
        })
    }

    /// Name of the header that chooses, in lower case. It is to be removed from requests for which it was not heeded.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Name of the header with the secret, in lower case. It is to be removed from all requests.
    pub fn secret_header(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.header.as_str())
    }

    /// The name of the variant that a trusted caller wants.
    pub(crate) fn wanted<'r>(&self, request: &'r impl Request) -> Option<&'r [u8]> {
        let wanted = request.header(&self.header)?;
        self.trusts(request).then_some(wanted)
    }

    fn trusts(&self, request: &impl Request) -> bool {
        let shown = |secret: &Secret| request.header(&secret.header).map(|it| secret.is(it));
        if self.secret.as_ref().and_then(shown) == Some(true) {
            return true;
        }
        // A property is dear, so it comes last.
        !self.principals.is_empty()
            && principal(request).is_some_and(|caller| self.principals.contains(&caller))
    }
}

impl Secret {
    fn compile(field: Arguments, config: &SecretConfig) -> Result<Self, ConfigError> {
        header_name(format_args!("{field}.header"), &config.header)?;
        let sha256 = digest(&config.sha256).ok_or_else(|| {
            let reason = "is not a SHA-256 in 64 hexadecimal digits: `printf %s \"$SECRET\" | sha256sum` prints one";
            ConfigError::new(format_args!("{field}.sha256"), reason)
        })?;
        // What the command prints when the variable is not set: an empty header would be trusted.
        let nothing: [u8; 32] = Sha256::digest(b"").into();
        if sha256 == nothing {
            let reason = "is the digest of nothing, so that an empty header would be trusted: set the secret first";
            return Err(ConfigError::new(format_args!("{field}.sha256"), reason));
        }
        Ok(Self {
            header: config.header.to_ascii_lowercase(),
            sha256,
        })
    }

    /// In constant time, and over digests: how long it takes says nothing of the secret.
    fn is(&self, value: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(value).into();
        given.ct_eq(&self.sha256).into()
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (position, byte) in digest.iter_mut().enumerate() {
        let at = position.checked_mul(2)?;
        *byte = u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests;
