//! The request that somebody asks about, as the filter would see it.

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};
use serin_filter_core::attribute::{cookie, jwt, query};
use serin_filter_core::config::{Attribute, Claim, RequestPart, RolloutConfig, SourcePart};
use serin_filter_core::route::Request;

use super::RequestArgs;

/// Where Istio and Envoy's `jwt_authn` put the payload of a verified token.
const JWT_PAYLOAD: [&str; 4] = [
    "metadata",
    "filter_metadata",
    "envoy.filters.http.jwt_authn",
    "payload",
];
const PRINCIPAL: [&str; 2] = ["connection", "uri_san_peer_certificate"];

/// A request made of what was typed.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) host: String,
    /// With its query.
    pub(super) path: String,
    /// In lower case; `:authority` and its like among them.
    headers: Vec<(String, String)>,
    cookies: Option<String>,
    /// By their names, joined with dots.
    claims: Vec<(String, String)>,
    principal: Option<String>,
}

/// Reads `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write it as NAME=VALUE, such as x-user-id=42".to_owned()),
    }
}

impl Typed {
    /// What was not typed is taken from the rollout that is asked about.
    ///
    /// # Errors
    /// Nothing says which host or path is meant.
    pub(super) fn new(args: &RequestArgs, wanted: Option<&RolloutConfig>) -> anyhow::Result<Self> {
        let missing = |what| {
            anyhow::anyhow!(
                "the config has several rollouts: say NAME, or give {what} of the request"
            )
        };
        let host = args
            .host
            .clone()
            .or_else(|| wanted.map(example_host))
            .ok_or_else(|| missing("--host"))?;
        let mut path = args
            .path
            .clone()
            .or_else(|| wanted.map(example_path))
            .ok_or_else(|| missing("--path"))?;
        for (name, value) in &args.query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("{}={}", encoded(name), encoded(value)));
        }
        let mut headers: Vec<(String, String)> = vec![
            (":authority".to_owned(), host.clone()),
            (":path".to_owned(), path.clone()),
            (":method".to_owned(), args.method.to_ascii_uppercase()),
        ];
        let given = args.headers.iter();
        headers.extend(given.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        if !args.unverified_jwt_claims.is_empty() {
            headers.push((
                "authorization".to_owned(),
                token(&args.unverified_jwt_claims),
            ));
        }
        let typed = args.cookies.iter();
        let mut cookies: Vec<String> = typed
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let header = headers.iter().filter(|(name, _)| name == "cookie");
        cookies.extend(header.map(|(_, value)| value.clone()));
        Ok(Self {
            host,
            path,
            headers,
            cookies: (!cookies.is_empty()).then(|| cookies.join("; ")),
            claims: args.jwt_claims.clone(),
            principal: args.principal.clone(),
        })
    }

    /// What an attribute holds, for people: the filter's own parsers, but not its own path to them. Whoever shows it
    /// checks it against the bucket of the decision.
    pub(super) fn value(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        match attribute {
            Attribute::Header(name) | Attribute::GrpcMetadata(name) => {
                self.header(&name.to_ascii_lowercase()).map(Cow::Borrowed)
            }
            Attribute::Cookie(name) => self
                .cookies()
                .find_map(|header| cookie::find(header, name.as_bytes()))
                .map(Cow::Borrowed),
            Attribute::Query(name) => query::find(self.path.as_bytes(), name.as_bytes()),
            Attribute::JwtClaim(claim) => {
                let path: Vec<_> = JWT_PAYLOAD
                    .into_iter()
                    .chain(claim.names().iter().map(String::as_str))
                    .collect();
                jwt::property_claim(&self.property(&path)?).map(Cow::Owned)
            }
            Attribute::UnverifiedJwtClaim(claim) => {
                jwt::bearer_claim(self.header("authorization")?, claim.names()).map(Cow::Owned)
            }
            Attribute::Source(SourcePart::Principal) => self.property(&PRINCIPAL).map(Cow::Owned),
            Attribute::Request(RequestPart::Method) => self.header(":method").map(Cow::Borrowed),
            Attribute::Request(RequestPart::Path) => self
                .path
                .split(['?', '#'])
                .next()
                .map(|path| Cow::Borrowed(path.as_bytes())),
        }
    }
}

impl Request for Typed {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(given, _)| given == name)?;
        Some(value.as_bytes())
    }

    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.cookies.iter().map(String::as_bytes)
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        if path == PRINCIPAL {
            return self.principal.clone().map(String::into_bytes);
        }
        let names = path.strip_prefix(&JWT_PAYLOAD)?.join(".");
        let mut claims = self.claims.iter();
        let (_, value) = claims.find(|(name, _)| *name == names)?;
        Some(value.clone().into_bytes())
    }

    fn draw(&self) -> u64 {
        // Without a key the proxies draw; any number does, because the answer then says that it is drawn.
        0
    }
}

/// An attribute in words.
pub(super) fn words(attribute: &Attribute) -> String {
    let claim = |claim: &Claim| claim.names().join(".");
    match attribute {
        Attribute::Header(name) => format!("header {name}"),
        Attribute::Cookie(name) => format!("cookie {name}"),
        Attribute::Query(name) => format!("query parameter {name}"),
        Attribute::JwtClaim(name) => format!("verified JWT claim {}", claim(name)),
        Attribute::UnverifiedJwtClaim(name) => format!("unverified JWT claim {}", claim(name)),
        Attribute::GrpcMetadata(name) => format!("gRPC metadata {name}"),
        Attribute::Source(SourcePart::Principal) => "principal of the caller".to_owned(),
        Attribute::Request(RequestPart::Path) => "path".to_owned(),
        Attribute::Request(RequestPart::Method) => "method".to_owned(),
    }
}

fn example_host(rollout: &RolloutConfig) -> String {
    let host = rollout.hosts.first().map_or("*", String::as_str);
    // A star stands for something.
    host.replacen('*', "any", 1)
}

fn example_path(rollout: &RolloutConfig) -> String {
    let template = rollout.path_template.as_ref().map(|template| {
        let path = template.strip_suffix("/**").unwrap_or(template);
        path.replace(['{', '}'], "")
    });
    let path = rollout.path.clone().or(rollout.path_prefix.clone());
    path.or(template).unwrap_or_else(|| "/".to_owned())
}

/// Percent-encoding of everything that could mean something in a query (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A bearer token with these claims and no signature that anybody would accept.
fn token(claims: &[(String, String)]) -> String {
    let mut payload = Map::new();
    for (name, value) in claims {
        // A dot leads into an object, or is part of the name (`https://example.com/plan`): only the config knows which.
        payload.insert(name.clone(), Value::String(value.clone()));
        insert(&mut payload, name, value);
    }
    let part = |json: &Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
    let header = serde_json::json!({"alg": "none"});
    format!(
        "Bearer {}.{}.",
        part(&header),
        part(&Value::Object(payload))
    )
}

fn insert(object: &mut Map<String, Value>, name: &str, value: &str) {
    let Some((outer, inner)) = name.split_once('.') else {
        object.insert(name.to_owned(), Value::String(value.to_owned()));
        return;
    };
    let nested = object
        .entry(outer)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(nested) = nested {
        insert(nested, inner, value);
    }
}
