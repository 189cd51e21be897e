//! How Prometheus is known, and how it knows us: all by reference, so that no secret is in an argument, a log or a message.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::http::HeaderValue;
use base64ct::{Base64, Encoding};

/// Files for the way to Prometheus; without any of them the system's certificates are trusted, and nothing is said of us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Certificates (PEM) that vouch for Prometheus, instead of the system's. Read again about once a minute.
    pub ca: Option<PathBuf>,
    /// Our certificate with its chain, and its key (PEM each). Read once.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who we are, in a header.
    pub credentials: Option<Credentials>,
}

/// Who we are: the file that says it is read for each query, for tokens of service accounts are replaced while they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A file with a bearer token.
    Bearer(PathBuf),
    /// A file with `user:password`.
    Basic(PathBuf),
}

/// Why the way to Prometheus cannot be taken. None of them tells what is in a file.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file is not there, or not ours to read.
    #[error("failed to read '{}', which --prometheus-{flag} names", path.display())]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("'{}' is to hold {expected}, as --prometheus-{flag} says", path.display())]
    Content {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificates without TLS.
    #[error(
        "certificates are of no use with http://: write Prometheus' address with https://, or leave --prometheus-ca and \
         --prometheus-client-cert out"
    )]
    NoTls,
    /// A password that messages would show.
    #[error(
        "the address of Prometheus holds a user or a password, which every message about it would show: put \
         user:password into a file, and name it with --prometheus-basic-auth-file"
    )]
    PasswordInAddress,
}

impl Credentials {
    const fn flag(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer-token-file",
            Self::Basic(_) => "basic-auth-file",
        }
    }

    /// Reads the file and makes the header `authorization` of it.
    pub(super) async fn header(&self) -> Result<HeaderValue, AccessError> {
        let (Self::Bearer(path) | Self::Basic(path)) = self;
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|source| AccessError::File {
            flag: self.flag(),
            path: path.clone(),
            source,
        })?;
        self.header_of(text.trim_end_matches(['\r', '\n']), path)
    }

    fn header_of(&self, text: &str, path: &Path) -> Result<HeaderValue, AccessError> {
        let (value, expected) = match self {
            Self::Bearer(_) => (
                (!text.is_empty()).then(|| format!("Bearer {text}")),
                "a token in one line",
            ),
            Self::Basic(_) => (
                text.contains(':')
                    .then(|| format!("Basic {}", Base64::encode_string(text.as_bytes()))),
                "user:password",
            ),
        };
        let header = value.and_then(|value| HeaderValue::try_from(value).ok());
        let mut header = header.ok_or_else(|| AccessError::Content {
            flag: self.flag(),
            path: path.to_owned(),
            expected,
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl Access {
    /// Whether credentials leave this machine as they are.
    #[must_use]
    pub fn is_in_clear(&self, endpoint: &str) -> bool {
        let url = reqwest::Url::parse(endpoint).ok();
        let url = url.filter(|url| self.credentials.is_some() && url.scheme() == "http");
        url.is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            let address = host.trim_start_matches('[').trim_end_matches(']');
            let near = address.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
            host != "localhost" && !near
        })
    }

    /// Checks what can be checked without a connection.
    pub(super) fn check(&self, endpoint: &str) -> Result<(), AccessError> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        if authority.contains('@') {
            return Err(AccessError::PasswordInAddress);
        }
        if scheme != "https" && (self.ca.is_some() || self.identity.is_some()) {
            return Err(AccessError::NoTls);
        }
        let identity = self.identity.as_ref();
        let files = [
            ("ca", self.ca.as_ref()),
            ("client-cert", identity.map(|(cert, _)| cert)),
            ("client-key", identity.map(|(_, key)| key)),
        ];
        for (flag, path) in files {
            let Some(path) = path else { continue };
            std::fs::File::open(path).map_err(|source| AccessError::File {
                flag,
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(credentials: &Credentials, text: &str) -> Result<HeaderValue, AccessError> {
        credentials.header_of(text, Path::new("secret.txt"))
    }

    #[test]
    fn a_password_is_sent_as_rfc_7617_says() {
        let basic = Credentials::Basic("secret.txt".into());
        // The example of section 2.
        let sent = header(&basic, "Aladdin:open sesame").unwrap();
        assert_eq!(sent, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(sent.is_sensitive());
    }

    #[test]
    fn what_is_no_credential_is_refused_without_being_shown() {
        let basic = Credentials::Basic("secret.txt".into());
        let bearer = Credentials::Bearer("secret.txt".into());
        for error in [
            header(&basic, "hunter2").unwrap_err(),
            header(&bearer, "hunter2\nhunter2").unwrap_err(),
            header(&bearer, "").unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(text.contains("secret.txt"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn credentials_that_others_could_read_on_the_way_are_noticed() {
        let access = Access {
            credentials: Some(Credentials::Bearer("secret.txt".into())),
            ..Access::default()
        };
        assert!(access.is_in_clear("http://prometheus.monitoring:9090"));
        for fine in [
            "https://prometheus.monitoring:9090",
            "http://127.0.0.1:9090",
            "http://[::1]:9090",
            "http://localhost:9090",
        ] {
            assert!(!access.is_in_clear(fine), "{fine}");
        }
        assert!(!Access::default().is_in_clear("http://prometheus.monitoring:9090"));
    }

    #[tokio::test]
    async fn a_token_is_read_again_when_it_is_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bearer = Credentials::Bearer(file.path().to_owned());
        for token in ["first", "second"] {
            std::fs::write(file.path(), format!("{token}\n")).unwrap();
            assert_eq!(bearer.header().await.unwrap(), format!("Bearer {token}"));
        }
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_being_shown() {
        let error = Access::default()
            .check("https://ann:hunter2@prometheus:9090/x")
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(Access::default().check("http://host/a@b").is_ok());
    }

    #[test]
    fn certificates_want_tls_and_have_to_be_there() {
        let access = Access {
            ca: Some("missing.pem".into()),
            ..Access::default()
        };
        let refused = |endpoint| access.check(endpoint).unwrap_err().to_string();
        assert!(refused("http://host").contains("https://"));
        assert_eq!(
            refused("https://host"),
            "failed to read 'missing.pem', which --prometheus-ca names"
        );
    }
}
