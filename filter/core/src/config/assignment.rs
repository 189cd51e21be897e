//! What a variant is chosen by: attributes of a request, rules on them, the issued cookie, the override.

use serde::{Deserialize, Serialize};

use crate::attribute::cookie::{Attributes, SameSite};

/// An attribute of a request, such as `{"header": "x-user-id"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attribute {
    /// The first value of a request header.
    Header(String),
    /// A cookie (RFC 6265).
    Cookie(String),
    /// The first query parameter of this name, decoded.
    Query(String),
    /// A claim of the JWT that the proxy has verified (Envoy's `jwt_authn`, payload in metadata as Istio writes it).
    JwtClaim(Claim),
    /// A claim of the bearer token, which nobody has verified: whoever sends a request can write what they like.
    UnverifiedJwtClaim(Claim),
    /// The first value of a gRPC metadata key, which is a header; `-bin` values stay in base64.
    GrpcMetadata(String),
    /// Who is at the other end of the connection.
    Source(SourcePart),
    /// A part of the request line.
    Request(RequestPart),
}

/// What is known of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourcePart {
    /// The first URI of the peer's certificate: in a mesh its SPIFFE id. Absent without mutual TLS.
    Principal,
}

/// A part of the request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestPart {
    /// The path without its query.
    Path,
    /// The method.
    Method,
}

/// Name of a claim: one name, or the names that lead to it from the outermost inwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Claim {
    /// A claim of the payload itself.
    Name(String),
    /// A claim within objects.
    Path(Vec<String>),
}

impl Claim {
    /// The names, from the outermost inwards.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Name(name) => std::slice::from_ref(name),
            Self::Path(names) => names,
        }
    }
}

/// The cookie that the filter gives to a client without a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieConfig {
    /// Its name.
    pub name: String,
    /// How long the client keeps it, in seconds; none: until the browser closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// Which requests from other sites carry it.
    #[serde(default = "lax")]
    pub same_site: SameSite,
    /// Whether it travels over TLS only.
    #[serde(default = "super::yes", skip_serializing_if = "super::is_yes")]
    pub secure: bool,
}

fn lax() -> SameSite {
    SameSite::Lax
}

impl CookieConfig {
    /// All but its name.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            max_age: self.max_age,
            same_site: self.same_site,
            secure: self.secure,
        }
    }
}

/// Requests that get one variant whatever the weights say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleConfig {
    /// Position of the variant.
    pub variant: u8,
    /// Conditions that must all hold.
    pub when: Vec<ConditionConfig>,
}

/// One condition: an attribute and one test on it; or `any` or `all` of further conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConditionConfig {
    /// See [`Attribute::Header`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// See [`Attribute::Cookie`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// See [`Attribute::Query`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// See [`Attribute::JwtClaim`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_claim: Option<Claim>,
    /// See [`Attribute::UnverifiedJwtClaim`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_jwt_claim: Option<Claim>,
    /// See [`Attribute::GrpcMetadata`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_metadata: Option<String>,
    /// See [`Attribute::Source`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePart>,
    /// See [`Attribute::Request`].
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// The whole value matches this expression (syntax of the Rust crate `regex-lite`, without Unicode classes; linear
    /// time). A value that is not UTF-8 or longer than 1 KiB does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Whether the attribute is there, with whatever value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// The value is a decimal number within these bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeConfig>,

    /// At least one of these holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<ConditionConfig>>,
    /// All of these hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<ConditionConfig>>,
}

/// Bounds of a number, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RangeConfig {
    /// The least value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// The header by which trusted callers choose a variant by its name. It never reaches the server unless it was heeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverrideConfig {
    /// Name of the header; its value is the name of a variant.
    pub header: String,
    /// Callers who are trusted, by their principal (see [`SourcePart::Principal`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// A secret that makes any caller trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretConfig>,
}

/// A shared secret in a header. The configuration holds its digest only, for many people can read that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretConfig {
    /// Name of the header that carries the secret; it is removed from every request of the rollout.
    pub header: String,
    /// SHA-256 of the secret, 64 hexadecimal digits. The secret should be long and random, for a digest can be guessed
    /// at offline.
    pub sha256: String,
}
