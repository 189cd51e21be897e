//! How a request's variant is chosen, as people write it. The meaning of every attribute and test is that of the
//! filter's wire format ([`serin_filter_core::config`]); here an unknown field is an error.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use serin_filter_core::attribute::cookie::SameSite;
use serin_filter_core::config::{Claim, RequestPart, SourcePart};

use super::yes;
use crate::quantity::Span;

/// How a request's variant is chosen: override, then rules, then the weight of the key's bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// Attributes that make a user; the first that is present wins. Empty: every request draws anew, unless a cookie is
    /// issued.
    #[serde(default)]
    pub key: Vec<Key>,
    /// Issued to clients that show no key, so that they stay with their variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// A new salt reshuffles the users.
    pub salt: String,
    /// Before the weights; the first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// A header by which trusted callers choose a variant, before the rules.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overriding: Option<Override>,
}

/// An attribute of a request that makes a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Key {
    /// The first value of a request header.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A claim of the JWT that the proxy has verified.
    JwtClaim(ClaimName),
    /// A claim of the bearer token, which nobody has verified: whoever sends a request can write what they like.
    UnverifiedJwtClaim(ClaimName),
    /// A gRPC metadata key.
    GrpcMetadata(String),
    /// Who is at the other end of the connection.
    Source(#[schemars(with = "String")] SourcePart),
}

/// Name of a claim, or the list of names that lead to it from the outermost inwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClaimName(pub Claim);

impl<'de> Deserialize<'de> for ClaimName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ClaimName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a claim, such as sub, or a list of names from the outermost inwards")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ClaimName, E> {
                Ok(ClaimName(Claim::Name(name.to_owned())))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<ClaimName, A::Error> {
                let mut path = Vec::new();
                while let Some(name) = names.next_element()? {
                    path.push(name);
                }
                Ok(ClaimName(Claim::Path(path)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ClaimName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClaimName".into()
    }

    /// A structural schema has no type for "text or list of texts".
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-preserve-unknown-fields": true})
    }
}

/// The cookie that the filter gives to a client without a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// How long the client keeps it, in whole seconds.
    #[serde(default = "default_max_age")]
    pub max_age: Span,
    /// Which requests from other sites carry it.
    #[serde(default)]
    #[schemars(with = "String")]
    pub same_site: SameSite,
    /// Whether it travels over TLS only; false where clients speak plain HTTP, which would never send it back.
    #[serde(default = "yes")]
    pub secure: bool,
}

fn default_max_age() -> Span {
    Span(Duration::from_secs(30 * 86_400))
}

/// Requests that get one variant whatever the weights say; they are counted, but not judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Name of the variant.
    pub variant: String,
    /// Conditions that must all hold.
    pub when: Vec<Condition>,
}

/// One condition: one attribute and one test on it; or `any` or `all` of further conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Condition {
    /// The first value of a request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// A query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// A claim of the JWT that the proxy has verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_claim: Option<ClaimName>,
    /// A claim of the bearer token, which nobody has verified: whoever sends a request can write what they like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_jwt_claim: Option<ClaimName>,
    /// A gRPC metadata key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_metadata: Option<String>,
    /// Who is at the other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source: Option<SourcePart>,
    /// A part of the request line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub request: Option<RequestPart>,

    /// The value is exactly this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// The value is one of these.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub within: Option<Vec<String>>,
    /// The value is none of these; also true where the attribute is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in: Option<Vec<String>>,
    /// The value begins with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The value ends with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// The whole value matches this expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Whether the attribute is there, with whatever value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// The value is a decimal number within these bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,

    /// At least one of these holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    pub any: Option<Vec<Condition>>,
    /// All of these hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    pub all: Option<Vec<Condition>>,
}

/// Bounds of a number, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Range {
    /// The least value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// The header by which trusted callers choose a variant by its name. It is removed from the requests of all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// Name of the header; its value is the name of a variant.
    pub header: String,
    /// Whose header is heeded.
    #[serde(default)]
    pub trusted: Trusted,
}

/// Callers whose override is heeded: any of these is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Trusted {
    /// Callers by their principal, such as `spiffe://cluster.local/ns/ml/sa/tester`; needs mutual TLS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// Callers who know a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// A shared secret in a header. The file holds its digest only, for many people can read that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// Name of the header that carries the secret; it is removed from every request.
    pub header: String,
    /// SHA-256 of the secret in hexadecimal digits, as `printf %s "$SECRET" | sha256sum` prints it.
    pub sha256: String,
}
