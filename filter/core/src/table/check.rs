//! What a configuration must satisfy before it is compiled. Every complaint names the field and what to do.

use std::fmt::Arguments;

use super::paths::{MAX_SEGMENTS, MAX_WILDCARDS, wildcard};
use crate::config::{
    Attribute, ConfigError, CookieConfig, FuseConfig, Head, OverrideConfig, RolloutConfig,
    SlowConfig, VariantConfig,
};
use crate::rule::attribute_fits;
use crate::split::BUCKETS;

/// Series per rollout grow with its variants, and bucket tables name them in one byte.
const MAX_VARIANTS: usize = 16;
/// Each source that is absent costs every request a look.
const MAX_KEYS: usize = 8;
/// Each is a counter per variant and group.
const MAX_SLOW: usize = 4;
/// Labels become part of a stat name, of which every proxy keeps a copy per series.
const MAX_LABEL: usize = 128;
const MAX_HEADER: usize = 256;
/// A day: what is longer is a mistake in the unit.
const MAX_MS: u64 = 86_400_000;

/// Everything but the rollouts.
pub(super) fn head(head: &Head, rollouts: usize) -> Result<(), ConfigError> {
    if head.generation == 0 && rollouts > 0 {
        let reason = "0 stands for \"no rollouts\" in the gauge and the log: count from 1 as soon as there are any";
        return Err(ConfigError::new("generation", reason));
    }
    header_name(format_args!("routeHeader"), &head.route_header)?;
    header_name(format_args!("shadowHeader"), &head.shadow_header)?;
    if head.route_header.eq_ignore_ascii_case(&head.shadow_header) {
        let reason = "it is the route header as well: name another header";
        return Err(ConfigError::new("shadowHeader", reason));
    }
    Ok(())
}

/// All that can be said of a rollout alone; `own` are the headers that the filter sets and removes itself.
pub(super) fn rollout(
    at: Arguments,
    rollout: &RolloutConfig,
    own: &[&str; 2],
) -> Result<(), ConfigError> {
    let field = format_args!("{at}.name");
    label(field, &rollout.name)?;
    if !matches!(rollout.name.split_once('/'), Some((namespace, name)) if !namespace.is_empty() && !name.is_empty())
    {
        return Err(ConfigError::new(
            field,
            format!("\"{}\" is not of the form \"namespace/name\"", rollout.name),
        ));
    }
    if rollout.hosts.is_empty() {
        return Err(ConfigError::new(
            format_args!("{at}.hosts"),
            "no host is named: name those whose requests are meant",
        ));
    }
    for (index, name) in rollout.hosts.iter().enumerate() {
        host(format_args!("{at}.hosts[{index}]"), name)?;
    }
    paths(at, rollout)?;
    variants(format_args!("{at}.variants"), &rollout.variants)?;
    keys(format_args!("{at}.key"), &rollout.key, own)?;
    if let Some(it) = &rollout.overriding {
        overriding(format_args!("{at}.override"), it, own)?;
    }
    if let Some(it) = &rollout.cookie {
        cookie(format_args!("{at}.cookie"), it)?;
    }
    for (index, rule) in rollout.rules.iter().enumerate() {
        if usize::from(rule.variant) >= rollout.variants.len() {
            return Err(ConfigError::new(
                format_args!("{at}.rules[{index}].variant"),
                format!(
                    "there is no variant {} (counted from 0) among {}",
                    rule.variant,
                    rollout.variants.len()
                ),
            ));
        }
    }
    if rollout.salt.is_empty() {
        let reason = "it is empty, so that this rollout would hit the same users as others: name the release";
        return Err(ConfigError::new(format_args!("{at}.salt"), reason));
    }
    slow(format_args!("{at}.slow"), &rollout.slow)?;
    if let Some(it) = &rollout.fuse {
        fuse(format_args!("{at}.fuse"), it)?;
    }
    if let Some(shadow) = &rollout.shadow {
        header_value(format_args!("{at}.shadow.cluster"), &shadow.cluster)?;
        if shadow.sample > BUCKETS {
            let reason = format!("{} is more than all: give 0 to {BUCKETS}", shadow.sample);
            return Err(ConfigError::new(format_args!("{at}.shadow.sample"), reason));
        }
    }
    let table = rollout.table.validate(rollout.variants.len());
    table.map_err(|error| ConfigError::new(format_args!("{at}.table"), error.to_string()))
}

fn host(field: Arguments, host: &str) -> Result<(), ConfigError> {
    let err = |reason: &str| Err(ConfigError::new(field, format!("\"{host}\" {reason}")));
    let name = match host.strip_prefix('*') {
        Some("") => return Ok(()),
        Some(suffix) if suffix.starts_with('.') && suffix.len() > 1 => suffix,
        Some(_) => {
            return err("has a star that does not stand for whole labels: write \"*.suffix\"");
        }
        None => host,
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if name.is_empty() {
        return err("is empty: name a host");
    }
    if name.contains('*') {
        return err("has a star within: only \"*.suffix\" and \"*\" are possible");
    }
    if name.contains(':') && !bracketed {
        return err(
            "has a port or is a bare IPv6 address: leave the port out, and write IPv6 as \"[::1]\"",
        );
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@');
    if name.len() > 253 || !name.bytes().all(fits) {
        return err(
            "is not a host name: write it as clients send it, international names in punycode",
        );
    }
    Ok(())
}

fn paths(at: Arguments, rollout: &RolloutConfig) -> Result<(), ConfigError> {
    let given = [
        ("pathPrefix", &rollout.path_prefix),
        ("path", &rollout.path),
        ("pathTemplate", &rollout.path_template),
    ];
    let mut given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let Some((name, value)) = given.next() else {
        return Ok(());
    };
    if let Some((other, _)) = given.next() {
        let reason = format!("{name} is given as well: a rollout has one of them");
        return Err(ConfigError::new(format_args!("{at}.{other}"), reason));
    }
    let field = format_args!("{at}.{name}");
    let err = |reason: &str| Err(ConfigError::new(field, format!("\"{value}\" {reason}")));
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if !value.starts_with('/') || value.contains("//") || !value.bytes().all(plain) {
        return err(
            "must begin with \"/\" and have no empty segment, query, fragment or space (percent-encode what needs it)",
        );
    }
    let segments = || value.split('/').skip(1);
    if segments().count() > MAX_SEGMENTS {
        return err(&format!("has more than {MAX_SEGMENTS} segments"));
    }
    if name == "pathTemplate" {
        let last = value.strip_suffix("/**").unwrap_or(value);
        let odd = |segment: &str| !wildcard(segment) && segment.contains(['{', '}', '*']);
        if last.split('/').any(odd) {
            return err(
                "has a segment that is neither text nor \"{name}\"; \"**\" may only be the last",
            );
        }
        if segments().filter(|segment| wildcard(segment)).count() > MAX_WILDCARDS {
            return err(&format!("has more than {MAX_WILDCARDS} named segments"));
        }
    } else if value.contains(['{', '}', '*']) {
        return err("is taken literally: use pathTemplate for \"{name}\" and \"**\"");
    }
    Ok(())
}

fn variants(field: Arguments, variants: &[VariantConfig]) -> Result<(), ConfigError> {
    if variants.is_empty() || variants.len() > MAX_VARIANTS {
        let reason = format!(
            "{} variants are given: 1 to {MAX_VARIANTS} are possible",
            variants.len()
        );
        return Err(ConfigError::new(field, reason));
    }
    for (index, it) in variants.iter().enumerate() {
        let at = format_args!("{field}[{index}]");
        label(format_args!("{at}.name"), &it.name)?;
        label(format_args!("{at}.version"), &it.version)?;
        header_value(format_args!("{at}.route"), &it.route)?;
        if it.cluster.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::new(
                format_args!("{at}.cluster"),
                "it is empty: leave it out where it is not to be checked",
            ));
        }
        if it.live && !it.enabled {
            return Err(ConfigError::new(
                format_args!("{at}.enabled"),
                "it is the live variant, where all others lead home to: make another one live first",
            ));
        }
        if variants
            .iter()
            .take(index)
            .any(|other| other.name == it.name)
        {
            return Err(ConfigError::new(
                format_args!("{at}.name"),
                format!("the name \"{}\" is used twice in this rollout", it.name),
            ));
        }
    }
    let live = variants.iter().filter(|variant| variant.live).count();
    if live == 1 {
        return Ok(());
    }
    let reason = format!(
        "{live} variants are live: exactly one must be, the one that the default route serves"
    );
    Err(ConfigError::new(field, reason))
}

fn keys(field: Arguments, keys: &[Attribute], own: &[&str; 2]) -> Result<(), ConfigError> {
    if keys.len() > MAX_KEYS {
        return Err(ConfigError::new(
            field,
            format!(
                "{} sources are given: at most {MAX_KEYS} are possible",
                keys.len()
            ),
        ));
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format_args!("{field}[{index}]");
        attribute_fits(field, key)?;
        match key {
            Attribute::Header(name) if own.iter().any(|own| name.eq_ignore_ascii_case(own)) => {
                return Err(ConfigError::new(
                    format_args!("{field}.header"),
                    "the filter sets and removes it itself: name another header",
                ));
            }
            Attribute::Request(_) => {
                return Err(ConfigError::new(
                    format_args!("{field}.request"),
                    "method and path make no user: they are for rules",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The filter removes these headers, and each for a reason of its own.
fn overriding(field: Arguments, it: &OverrideConfig, own: &[&str; 2]) -> Result<(), ConfigError> {
    let taken = |name: &str| own.iter().any(|own| name.eq_ignore_ascii_case(own));
    let err = |field: String, reason: &str| Err(ConfigError::new(field, reason));
    if taken(&it.header) {
        let reason = "the filter sets and removes it itself: name another header";
        return err(format!("{field}.header"), reason);
    }
    match &it.secret {
        Some(secret) if taken(&secret.header) || secret.header.eq_ignore_ascii_case(&it.header) => {
            let reason = "it has another meaning already: name another header";
            err(format!("{field}.secret.header"), reason)
        }
        _ => Ok(()),
    }
}

fn cookie(field: Arguments, cookie: &CookieConfig) -> Result<(), ConfigError> {
    crate::attribute::cookie::check(&cookie.name, &cookie.attributes())
        .map_err(|error| ConfigError::new(field, format!("\"{}\": {error}", cookie.name)))
}

fn slow(field: Arguments, limits: &[SlowConfig]) -> Result<(), ConfigError> {
    if limits.len() > MAX_SLOW {
        let reason = format!("{} limits are given: at most {MAX_SLOW}", limits.len());
        return Err(ConfigError::new(field, reason));
    }
    for (index, limit) in limits.iter().enumerate() {
        let at = format_args!("{field}[{index}].name");
        label(at, &limit.name)?;
        if limits
            .iter()
            .take(index)
            .any(|other| other.name == limit.name)
        {
            let reason = format!("the name \"{}\" is used twice in this rollout", limit.name);
            return Err(ConfigError::new(at, reason));
        }
    }
    Ok(())
}

fn fuse(field: Arguments, fuse: &FuseConfig) -> Result<(), ConfigError> {
    let times = [
        ("windowMs", Some(fuse.window_ms)),
        ("cooldownMs", Some(fuse.cooldown_ms)),
        ("pendingMs", fuse.pending_ms),
        ("slowMs", fuse.slow_ms),
    ];
    for (name, time) in times {
        if time.is_some_and(|ms| ms == 0 || ms > MAX_MS) {
            let reason = "must be 1 ms to a day, in milliseconds";
            return Err(ConfigError::new(format_args!("{field}.{name}"), reason));
        }
    }
    super::fuse_settings(fuse).check().map_err(|error| {
        // The settings are durations, the wire format has milliseconds.
        let name = match error.field {
            "window" => "windowMs",
            "cooldown" => "cooldownMs",
            "pendingLimit" => "pendingMs",
            "slowLimit" => "slowMs",
            other => other,
        };
        ConfigError::new(format_args!("{field}.{name}"), error.reason)
    })
}

/// A header name is a token (RFC 9110, section 5.6.2). Pseudo-headers and `host` are the proxy's own.
pub(crate) fn header_name(field: Arguments, name: &str) -> Result<(), ConfigError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = !name.is_empty() && name.len() <= MAX_HEADER && name.bytes().all(token);
    if fits && !name.eq_ignore_ascii_case("host") {
        return Ok(());
    }
    Err(ConfigError::new(
        field,
        format!("\"{name}\" is not the name of an ordinary header, such as \"x-user-id\""),
    ))
}

/// What the proxy accepts here without a word would fail each request later, in the codec.
fn header_value(field: Arguments, value: &str) -> Result<(), ConfigError> {
    let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    if !value.is_empty() && value.len() <= MAX_HEADER && visible {
        return Ok(());
    }
    let reason =
        format!("\"{value}\" is no header value: 1 to {MAX_HEADER} visible ASCII characters");
    Err(ConfigError::new(field, reason))
}

/// Labels travel inside stat names (see [`crate::stat::Encoding`]), where `;`, `=` and `,` would end or begin another.
fn label(field: Arguments, value: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b';' | b'=' | b',');
    if !value.is_empty() && value.len() <= MAX_LABEL && value.bytes().all(fits) {
        return Ok(());
    }
    let reason = format!(
        "\"{value}\" is no metric label: 1 to {MAX_LABEL} printable ASCII characters without ';', '=' and ','"
    );
    Err(ConfigError::new(field, reason))
}

#[cfg(test)]
mod tests;
