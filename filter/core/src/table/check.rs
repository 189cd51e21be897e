//! What a configuration must satisfy before it is compiled. Every complaint names the field and what to do.

use fxhash::FxHashSet;

use crate::config::{
    ConfigError, FilterConfig, KeySource, RolloutConfig, VariantConfig, check_version,
};

/// Series per rollout grow with its variants, and bucket tables name them in one byte.
const MAX_VARIANTS: usize = 16;
/// Each source that is absent costs every request a call into the proxy.
const MAX_KEYS: usize = 8;
/// Labels become part of a stat name, of which every proxy keeps a copy per series.
const MAX_LABEL: usize = 128;
const MAX_HEADER: usize = 256;

/// Checks all that can be said of the fields; that two rollouts do not claim the same requests is left to the caller.
pub(super) fn config(config: &FilterConfig) -> Result<(), ConfigError> {
    check_version(config.version)?;
    if config.generation == 0 && !config.rollouts.is_empty() {
        let reason = "0 stands for \"no rollouts\" in the gauge and the log: count from 1 as soon as there are any";
        return Err(ConfigError::new("generation", reason));
    }
    header_name("routeHeader", &config.route_header)?;
    let mut names = FxHashSet::default();
    for (index, it) in config.rollouts.iter().enumerate() {
        let at = format!("rollouts[{index}]");
        rollout(&at, it, &config.route_header)?;
        if !names.insert(it.name.as_str()) {
            let reason = format!(
                "the name \"{}\" is used twice: a rollout appears once in a configuration",
                it.name
            );
            return Err(ConfigError::new(format!("{at}.name"), reason));
        }
    }
    Ok(())
}

fn rollout(at: &str, rollout: &RolloutConfig, route_header: &str) -> Result<(), ConfigError> {
    let field = format!("{at}.name");
    label(&field, &rollout.name)?;
    if !matches!(rollout.name.split_once('/'), Some((namespace, name)) if !namespace.is_empty() && !name.is_empty())
    {
        return Err(ConfigError::new(
            field,
            format!("\"{}\" is not of the form \"namespace/name\"", rollout.name),
        ));
    }
    if rollout.hosts.is_empty() {
        return Err(ConfigError::new(
            format!("{at}.hosts"),
            "no host is named: name those whose requests are meant",
        ));
    }
    for (index, name) in rollout.hosts.iter().enumerate() {
        host(&format!("{at}.hosts[{index}]"), name)?;
    }
    path_prefix(&format!("{at}.pathPrefix"), &rollout.path_prefix)?;
    variants(&format!("{at}.variants"), &rollout.variants)?;
    keys(&format!("{at}.key"), &rollout.key, route_header)?;
    if rollout.salt.is_empty() {
        let reason = "it is empty, so that this rollout would hit the same users as others: name the release";
        return Err(ConfigError::new(format!("{at}.salt"), reason));
    }
    let table = rollout.table.validate(rollout.variants.len());
    table.map_err(|error| ConfigError::new(format!("{at}.table"), error.to_string()))
}

fn host(field: &str, host: &str) -> Result<(), ConfigError> {
    let err = |reason: &str| Err(ConfigError::new(field, format!("\"{host}\" {reason}")));
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() {
        return err("is empty: name a host");
    }
    if host.contains('*') {
        return err("has a wildcard: name each host");
    }
    if host.contains(':') && !bracketed {
        return err(
            "has a port or is a bare IPv6 address: leave the port out, and write IPv6 as \"[::1]\"",
        );
    }
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@'))
    {
        return err(
            "is not a host name: write it as clients send it, international names in punycode",
        );
    }
    Ok(())
}

fn path_prefix(field: &str, prefix: &str) -> Result<(), ConfigError> {
    let fits = prefix.starts_with('/') && !prefix.contains("//");
    if fits
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
    {
        return Ok(());
    }
    let reason = "must begin with \"/\" and have no empty segment, query, fragment or space (percent-encode what needs it)";
    Err(ConfigError::new(field, format!("\"{prefix}\" {reason}")))
}

fn variants(field: &str, variants: &[VariantConfig]) -> Result<(), ConfigError> {
    if variants.is_empty() || variants.len() > MAX_VARIANTS {
        let reason = format!(
            "{} variants are given: 1 to {MAX_VARIANTS} are possible",
            variants.len()
        );
        return Err(ConfigError::new(field, reason));
    }
    let mut names = FxHashSet::default();
    for (index, it) in variants.iter().enumerate() {
        let at = |name| format!("{field}[{index}].{name}");
        label(&at("name"), &it.name)?;
        label(&at("version"), &it.version)?;
        // What the proxy accepts here without a word would fail each request later, in the codec.
        let visible = it.route.bytes().all(|byte| byte.is_ascii_graphic());
        if it.route.is_empty() || it.route.len() > MAX_HEADER || !visible {
            let reason = format!(
                "\"{}\" is no header value: 1 to {MAX_HEADER} visible ASCII characters",
                it.route
            );
            return Err(ConfigError::new(at("route"), reason));
        }
        if it.cluster.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::new(
                at("cluster"),
                "it is empty: leave it out where it is not to be checked",
            ));
        }
        if !names.insert(it.name.as_str()) {
            return Err(ConfigError::new(
                at("name"),
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

fn keys(field: &str, keys: &[KeySource], route_header: &str) -> Result<(), ConfigError> {
    if keys.len() > MAX_KEYS {
        return Err(ConfigError::new(
            field,
            format!(
                "{} sources are given: at most {MAX_KEYS} are possible",
                keys.len()
            ),
        ));
    }
    for (index, KeySource::Header(name)) in keys.iter().enumerate() {
        let field = format!("{field}[{index}].header");
        header_name(&field, name)?;
        if name.eq_ignore_ascii_case(route_header) {
            return Err(ConfigError::new(
                field,
                "it is the route header, which the filter removes: name another header",
            ));
        }
    }
    Ok(())
}

/// A header name is a token (RFC 9110, section 5.6.2). Pseudo-headers and `host` are the proxy's own.
fn header_name(field: &str, name: &str) -> Result<(), ConfigError> {
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

/// Labels travel inside stat names (see [`crate::stat::encode`]), where `;` and `=` would end or begin another.
fn label(field: &str, value: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b';' | b'=');
    if !value.is_empty() && value.len() <= MAX_LABEL && value.bytes().all(fits) {
        return Ok(());
    }
    let reason = format!(
        "\"{value}\" is no metric label: 1 to {MAX_LABEL} printable ASCII characters without ';' and '='"
    );
    Err(ConfigError::new(field, reason))
}

#[cfg(test)]
mod tests;
