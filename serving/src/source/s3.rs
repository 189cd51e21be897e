//! A bucket of Amazon S3, or of a server that speaks as it does.

mod download;
mod failure;
mod http;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use object_store::{
    ObjectMeta, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    client::ClientConfigKey,
    path::Path as Key,
};

pub(super) use self::failure::Failure;
use self::{failure::Kind, http::Connector};
use super::{Access, remote::Object};
use crate::repository::Problem;

/// Times that a request is made before it is given up, if it brings nothing.
const TRIES: u32 = 5;
/// The first pause; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// A bucket and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    bucket: String,
    prefix: Key,
}

impl Location {
    /// Reads `s3://BUCKET/PREFIX`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("s3://").ok_or_else(|| {
            let scheme = url.split("://").next().unwrap_or_default();
            format!("'{scheme}://' is not supported: name a folder, or s3://BUCKET/PREFIX")
        })?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(allowed) {
            // It may hold a password.
            return Err("it names no bucket: write s3://BUCKET/PREFIX".to_owned());
        }
        let prefix = Key::parse(prefix).map_err(|error| format!("its prefix is odd: {error}"))?;
        let bucket = bucket.to_owned();
        Ok(Self { bucket, prefix })
    }

    /// How a message names what is there.
    pub(super) fn at(&self, rest: &Path) -> PathBuf {
        let mut text = self.to_string();
        if !rest.as_os_str().is_empty() {
            text.push('/');
            text.push_str(&rest.to_string_lossy());
        }
        PathBuf::from(text)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_root() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

/// A bucket that can be asked.
pub(super) struct Bucket {
    store: AmazonS3,
    pub(super) location: Location,
    timeout: Duration,
    /// Who answers, for messages.
    host: String,
    /// Whether there are any credentials but those that the machine may have.
    has_credentials: bool,
}

impl Bucket {
    /// Nothing is asked yet.
    pub(super) fn open(location: &Location, access: &Access) -> Result<Self, Problem> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&location.bucket)
            // Ours know what has arrived already.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_http_connector(Connector::new(access.timeout));
        if let Some(endpoint) = &access.endpoint {
            // What is said on the command line wins over both variables.
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(region) = &access.region {
            builder = builder.with_region(region);
        }
        if access.allow_http {
            builder = builder.with_allow_http(true);
        }
        let set = |key| builder.get_config_value(&key).filter(|it| !it.is_empty());
        let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or(set(AmazonS3ConfigKey::Endpoint));
        let host = match &endpoint {
            Some(endpoint) => endpoint.clone(),
            None => match set(AmazonS3ConfigKey::Region) {
                Some(region) => format!("Amazon S3 in {region}"),
                None => "Amazon S3 in us-east-1".to_owned(),
            },
        };
        let plain = endpoint.is_some_and(|it| it.starts_with("http://"));
        let allowed = set(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        if plain && allowed.as_deref() != Some("true") {
            return Err(Problem::new(
                &location.at(Path::new("")),
                format!("'{host}' is without TLS"),
                "whoever is on the way could put in another model",
                "use https, or allow it with --s3-allow-http",
            ));
        }
        let has_credentials = [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::WebIdentityTokenFile,
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
            AmazonS3ConfigKey::SkipSignature,
        ]
        .into_iter()
        .any(|key| set(key).is_some_and(|it| it != "false"));
        let store = builder.build().map_err(|error| {
            Problem::new(
                &location.at(Path::new("")),
                "cannot be opened",
                failure::detail(&error),
                "check the options --s3-... and the variables AWS_...",
            )
        })?;
        Ok(Self {
            store,
            location: location.clone(),
            timeout: access.timeout,
            host,
            has_credentials,
        })
    }

    /// What tells this bucket from another of the same name.
    pub(super) fn identity(&self) -> String {
        format!("{} at {}", self.location, self.host)
    }

    /// All objects below the prefix, by key without it. Complete, or a failure.
    pub(super) async fn list(&self) -> Result<Vec<(String, Object)>, Failure> {
        let mut retry = Retry::default();
        loop {
            match self.list_once().await {
                Ok(objects) => return Ok(objects),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    async fn list_once(&self) -> Result<Vec<(String, Object)>, Failure> {
        let prefix = &self.location.prefix;
        let mut pages = self.store.list(Some(prefix));
        let mut objects = Vec::new();
        loop {
            let next = tokio::time::timeout(self.timeout, pages.next()).await;
            let next = next.map_err(|_| Failure::from(Kind::Silent(self.timeout)))?;
            let Some(meta) = next else {
                return Ok(objects);
            };
            let ObjectMeta {
                location,
                last_modified,
                size,
                e_tag,
                ..
            } = meta?;
            let key = location.as_ref();
            // The folder itself, as consoles make them.
            let Some(rest) = key
                .strip_prefix(prefix.as_ref())
                .filter(|it| !it.is_empty())
            else {
                continue;
            };
            let key = if prefix.is_root() {
                Some(rest)
            } else {
                rest.strip_prefix('/')
            };
            let object = Object {
                size,
                etag: e_tag,
                modified: last_modified.timestamp_millis(),
            };
            objects.extend(key.map(|key| (key.to_owned(), object)));
        }
    }

    fn key(&self, rest: &str) -> Result<Key, Failure> {
        let prefix = &self.location.prefix;
        let key = if prefix.is_root() {
            rest.to_owned()
        } else {
            format!("{prefix}/{rest}")
        };
        Key::parse(key).map_err(|error| Failure::from(object_store::Error::from(error)))
    }

    /// What a person is told: what, where, why and what to do.
    pub(super) fn problem(&self, rest: &str, failure: &Failure) -> Problem {
        let at = self.location.at(Path::new(rest));
        let what = if rest.is_empty() {
            "cannot be listed"
        } else {
            "cannot be fetched"
        };
        let (why, fix) = failure.why(&self.host, &self.location.bucket, self.has_credentials);
        Problem::new(&at, what, why, fix)
    }
}

/// How often something was tried that brings nothing.
#[derive(Default)]
struct Retry {
    failed: u32,
}

impl Retry {
    /// Waits before the next try, or gives up.
    async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failed += 1;
        if self.failed >= TRIES || !failure.may_pass() {
            return Err(failure);
        }
        tracing::warn!(%failure, "asking S3 once more");
        tokio::time::sleep(PAUSE * 2_u32.pow(self.failed - 1)).await;
        Ok(())
    }

    /// It has brought something.
    fn progress(&mut self) {
        self.failed = 0;
    }
}
