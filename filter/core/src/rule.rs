//! Conditions on a request, compiled.

use std::fmt::Arguments;

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};

use crate::attribute::{cookie, jwt, query};
use crate::config::json::Json;
use crate::config::{
    Attribute, Claim, ConditionConfig, ConfigError, RangeConfig, RequestPart, RuleConfig,
    SourcePart,
};
use crate::hash::Set;
use crate::route::Request;

/// A longer value does not match an expression: the work for one is the product of both lengths.
const MAX_MATCHED: usize = 1024;
/// A longer value is no number: no stranger makes the filter read a document.
const MAX_NUMBER: usize = 64;
/// Bytes that a compiled expression may take.
const MAX_EXPRESSION: usize = 16 * 1024;
/// How deep `any` and `all` may be nested.
const MAX_DEPTH: usize = 8;
/// Conditions of one rollout.
const MAX_CONDITIONS: usize = 256;

/// Where Istio and Envoy's `jwt_authn` put the payload of a verified token.
const JWT_PAYLOAD: [&str; 4] = [
    "metadata",
    "filter_metadata",
    "envoy.filters.http.jwt_authn",
    "payload",
];

/// A rule: all its conditions lead to one variant.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) variant: usize,
    when: Vec<Condition>,
}

#[derive(Clone, Debug)]
enum Condition {
    Holds(Attribute, Test),
    Any(Vec<Condition>),
    All(Vec<Condition>),
}

#[derive(Clone, Debug)]
enum Test {
    Equals(Vec<u8>),
    In(Set<Vec<u8>>),
    NotIn(Set<Vec<u8>>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Regex(Regex),
    Exists(bool),
    Range { min: f64, max: f64 },
}

impl Rule {
    /// Compiles the rules of a rollout; `field` is their path in the configuration.
    pub(crate) fn compile(
        field: Arguments,
        rules: &[RuleConfig],
    ) -> Result<Vec<Self>, ConfigError> {
        let mut left = MAX_CONDITIONS;
        let compile = |(index, rule): (usize, &RuleConfig)| {
            let at = format_args!("{field}[{index}].when");
            if rule.when.is_empty() {
                let reason = "a rule without conditions would take every request: name one, or move the weights";
                return Err(ConfigError::new(at, reason));
            }
            Ok(Self {
                variant: rule.variant.into(),
                when: conditions(at, &rule.when, MAX_DEPTH, &mut left)?,
            })
        };
        rules.iter().enumerate().map(compile).collect()
    }

    pub(crate) fn matches(&self, request: &impl Request) -> bool {
        self.when.iter().all(|condition| condition.holds(request))
    }
}

impl Condition {
    fn holds(&self, request: &impl Request) -> bool {
        match self {
            Self::Any(any) => any.iter().any(|condition| condition.holds(request)),
            Self::All(all) => all.iter().all(|condition| condition.holds(request)),
            Self::Holds(attribute, test) => test.accepts(value(attribute, request).as_deref()),
        }
    }
}

impl Test {
    fn accepts(&self, value: Option<&[u8]>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::NotIn(_) | Self::Exists(false));
        };
        match self {
            Self::Equals(wanted) => value == wanted.as_slice(),
            Self::In(values) => values.contains(value),
            Self::NotIn(values) => !values.contains(value),
            Self::Prefix(prefix) => value.starts_with(prefix),
            Self::Suffix(suffix) => value.ends_with(suffix),
            Self::Exists(wanted) => *wanted,
            Self::Regex(regex) => {
                value.len() <= MAX_MATCHED
                    && std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text))
            }
            Self::Range { min, max } => number(value).is_some_and(|it| *min <= it && it <= *max),
        }
    }
}

/// A number as JSON writes it (RFC 8259, section 6).
fn number(value: &[u8]) -> Option<f64> {
    if value.len() > MAX_NUMBER {
        return None;
    }
    match serde_json::from_slice(value).ok()? {
        Json::Natural(number) => Some(number as f64),
        Json::Number(number) => Some(number),
        _ => None,
    }
}

/// The value of an attribute; none: the request does not have it.
pub(crate) fn value<'r>(attribute: &Attribute, request: &'r impl Request) -> Option<Cow<'r, [u8]>> {
    match attribute {
        Attribute::Header(name) | Attribute::GrpcMetadata(name) => {
            request.header(name).map(Cow::Borrowed)
        }
        Attribute::Cookie(name) => request
            .cookies()
            .find_map(|header| cookie::find(header, name.as_bytes()))
            .map(Cow::Borrowed),
        Attribute::Query(name) => query::find(request.header(":path")?, name.as_bytes()),
        Attribute::JwtClaim(claim) => verified(claim, request).map(Cow::Owned),
        Attribute::UnverifiedJwtClaim(claim) => {
            jwt::bearer_claim(request.header("authorization")?, claim.names()).map(Cow::Owned)
        }
        Attribute::Source(SourcePart::Principal) => principal(request).map(Cow::Owned),
        Attribute::Request(RequestPart::Method) => request.header(":method").map(Cow::Borrowed),
        Attribute::Request(RequestPart::Path) => {
            let path = request.header(":path")?;
            let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
            Some(Cow::Borrowed(
                end.and_then(|end| path.get(..end)).unwrap_or(path),
            ))
        }
    }
}

/// Who is at the other end of the connection, as its certificate says.
pub(crate) fn principal(request: &impl Request) -> Option<Vec<u8>> {
    request
        .property(&["connection", "uri_san_peer_certificate"])
        .filter(|value| !value.is_empty())
}

fn verified(claim: &Claim, request: &impl Request) -> Option<Vec<u8>> {
    let names = claim.names().iter().map(String::as_str);
    let path: Vec<&str> = JWT_PAYLOAD.into_iter().chain(names).collect();
    jwt::property_claim(&request.property(&path)?)
}

fn conditions(
    field: Arguments,
    configs: &[ConditionConfig],
    depth: usize,
    left: &mut usize,
) -> Result<Vec<Condition>, ConfigError> {
    let each = |(index, config)| condition(format_args!("{field}[{index}]"), config, depth, left);
    configs.iter().enumerate().map(each).collect()
}

fn condition(
    field: Arguments,
    config: &ConditionConfig,
    depth: usize,
    left: &mut usize,
) -> Result<Condition, ConfigError> {
    let err = |reason: String| Err(ConfigError::new(field, reason));
    let Some(fewer) = left.checked_sub(1) else {
        return err(format!(
            "the rules of a rollout have more than {MAX_CONDITIONS} conditions: join values with \"in\""
        ));
    };
    *left = fewer;
    let attributes = attributes(config);
    if config.any.is_some() || config.all.is_some() {
        let alone = attributes.is_empty() && tests(field, config)?.is_empty();
        return match (&config.any, &config.all, depth.checked_sub(1)) {
            (_, _, None) => err(format!("any and all are nested deeper than {MAX_DEPTH}")),
            (Some(any), None, Some(depth)) if alone && !any.is_empty() => Ok(Condition::Any(
                conditions(format_args!("{field}.any"), any, depth, left)?,
            )),
            (None, Some(all), Some(depth)) if alone && !all.is_empty() => Ok(Condition::All(
                conditions(format_args!("{field}.all"), all, depth, left)?,
            )),
            _ => err("any and all stand alone and hold at least one condition".to_owned()),
        };
    }
    let mut attributes = attributes.into_iter();
    let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
        return err(
            "must name exactly one attribute: header, cookie, query, jwtClaim, unverifiedJwtClaim, grpcMetadata, \
             source or request"
                .to_owned(),
        );
    };
    attribute_fits(field, &attribute)?;
    let mut tests = tests(field, config)?.into_iter();
    let (Some(test), None) = (tests.next(), tests.next()) else {
        return err(
            "must name exactly one test that this filter knows: equals, in, notIn, prefix, suffix, regex, exists or \
             range"
                .to_owned(),
        );
    };
    Ok(Condition::Holds(lower(attribute), test))
}

fn attributes(config: &ConditionConfig) -> Vec<Attribute> {
    let named = [
        config.header.clone().map(Attribute::Header),
        config.cookie.clone().map(Attribute::Cookie),
        config.query.clone().map(Attribute::Query),
        config.jwt_claim.clone().map(Attribute::JwtClaim),
        config
            .unverified_jwt_claim
            .clone()
            .map(Attribute::UnverifiedJwtClaim),
        config.grpc_metadata.clone().map(Attribute::GrpcMetadata),
        config.source.map(Attribute::Source),
        config.request.map(Attribute::Request),
    ];
    named.into_iter().flatten().collect()
}

fn tests(field: Arguments, config: &ConditionConfig) -> Result<Vec<Test>, ConfigError> {
    let bytes = |text: &String| text.as_bytes().to_vec();
    let set = |texts: &Vec<String>| texts.iter().map(bytes).collect();
    let given = [
        config.equals.as_ref().map(bytes).map(Test::Equals),
        config.within.as_ref().map(set).map(Test::In),
        config.not_in.as_ref().map(set).map(Test::NotIn),
        config.prefix.as_ref().map(bytes).map(Test::Prefix),
        config.suffix.as_ref().map(bytes).map(Test::Suffix),
        config.exists.map(Test::Exists),
    ];
    let mut tests: Vec<Test> = given.into_iter().flatten().collect();
    if let Some(expression) = &config.regex {
        tests.push(Test::Regex(regex(
            format_args!("{field}.regex"),
            expression,
        )?));
    }
    if let Some(bounds) = config.range {
        tests.push(range(format_args!("{field}.range"), bounds)?);
    }
    Ok(tests)
}

fn regex(field: Arguments, expression: &str) -> Result<Regex, ConfigError> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_EXPRESSION).build();
    // Alone first: "a)|(b" is no expression, but would be one between the anchors.
    build(expression)
        .and_then(|_| build(&format!("^(?:{expression})$")))
        .map_err(|error| ConfigError::new(field, format!("\"{expression}\": {error}")))
}

fn range(field: Arguments, RangeConfig { min, max }: RangeConfig) -> Result<Test, ConfigError> {
    let (low, high) = (
        min.unwrap_or(f64::NEG_INFINITY),
        max.unwrap_or(f64::INFINITY),
    );
    if min.or(max).is_some() && low <= high {
        return Ok(Test::Range {
            min: low,
            max: high,
        });
    }
    Err(ConfigError::new(
        field,
        "must have min, max or both, and min must not be above max",
    ))
}

/// What can be said against an attribute.
pub(crate) fn attribute_fits(field: Arguments, attribute: &Attribute) -> Result<(), ConfigError> {
    use crate::table::check::header_name;
    match attribute {
        Attribute::Header(name) => header_name(format_args!("{field}.header"), name),
        Attribute::GrpcMetadata(name) => header_name(format_args!("{field}.grpcMetadata"), name),
        Attribute::Cookie(name) if !cookie::is_cookie_name(name) => Err(ConfigError::new(
            format_args!("{field}.cookie"),
            format!("\"{name}\" is not the name of a cookie, such as \"uid\""),
        )),
        Attribute::Query(name) if name.is_empty() => Err(ConfigError::new(
            format_args!("{field}.query"),
            "it is empty",
        )),
        Attribute::JwtClaim(claim) | Attribute::UnverifiedJwtClaim(claim)
            if claim.names().is_empty() || claim.names().iter().any(String::is_empty) =>
        {
            let reason = "a claim has a name, such as \"sub\", or a list of names from the outermost inwards";
            Err(ConfigError::new(field, reason))
        }
        _ => Ok(()),
    }
}

/// Header names are compared as the proxy has them.
pub(crate) fn lower(attribute: Attribute) -> Attribute {
    match attribute {
        Attribute::Header(name) => Attribute::Header(name.to_ascii_lowercase()),
        Attribute::GrpcMetadata(name) => Attribute::GrpcMetadata(name.to_ascii_lowercase()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
