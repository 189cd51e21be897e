//! What went wrong with a bucket, in words for who runs the server.
//!
//! Answers of S3 may repeat what the request was signed with, so of them only the code and the message are ever shown.

use std::{error::Error, fmt, io, time::Duration};

use object_store::path;

/// One request that failed.
#[derive(Debug)]
pub(in crate::source) struct Failure {
    kind: Kind,
}

/// Why, as far as the next step depends on it.
#[derive(Debug)]
pub(super) enum Kind {
    /// Nobody, or nothing for so long.
    Silent(Duration),
    /// The connection was not made or was cut, or S3 has a bad moment.
    Passing(String),
    /// S3 refuses, with its code.
    Refused { code: String, message: String },
    /// The object is another one than the listing said.
    Changed,
    /// A key that names no file.
    OddKey(String),
    /// Our own disk.
    Disk(io::Error),
    /// Anything else.
    Other(String),
}

impl From<Kind> for Failure {
    fn from(kind: Kind) -> Self {
        Self { kind }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from(Kind::Disk(error))
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        // The crate keeps the status of a listing to itself, so what it says is read.
        let said = chain(&error);
        let code = between(&said, "<Code>", "</Code>");
        let message = between(&said, "<Message>", "</Message>").unwrap_or_default();
        let refused = |code: &str| Kind::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let status = between(&said, "status code: ", ":").unwrap_or_default();
        Self::from(match (&error, code) {
            (E::Precondition { .. }, _) => Kind::Changed,
            (E::InvalidPath { source }, _) => Kind::OddKey(odd(source)),
            (_, Some("InternalError" | "SlowDown" | "ServiceUnavailable" | "RequestTimeout")) => {
                Kind::Passing(format!(
                    "it answers {}: {message}",
                    code.unwrap_or_default()
                ))
            }
            (_, Some(code)) => refused(code),
            (E::NotFound { .. }, None) => refused("NoSuchKey"),
            (E::PermissionDenied { .. } | E::Unauthenticated { .. }, None) => {
                refused("AccessDenied")
            }
            (_, None) if status.starts_with('5') => Kind::Passing(format!("it answers {status}")),
            (_, None) if status.starts_with('4') => refused(status),
            (_, None) if said.contains("redirect") => refused("PermanentRedirect"),
            (_, None) if is_transport(&error) => Kind::Passing(detail(&error)),
            (_, None) => Kind::Other(detail(&error)),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Silent(span) => {
                let span = humantime::format_duration(*span);
                write!(f, "next to nothing arrived for {span}")
            }
            Kind::Passing(why) | Kind::Other(why) | Kind::OddKey(why) => f.write_str(why),
            Kind::Refused { code, message } if message.is_empty() => f.write_str(code),
            Kind::Refused { code, message } => write!(f, "{code}: {message}"),
            Kind::Changed => f.write_str("it changed while it was being fetched"),
            Kind::Disk(error) => error.fmt(f),
        }
    }
}

impl Failure {
    /// Whether the same request may succeed the next time.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Silent(_) | Kind::Passing(_))
    }

    /// Whether the listing has to be made anew.
    pub(in crate::source) fn is_outdated(&self) -> bool {
        match &self.kind {
            Kind::Changed => true,
            Kind::Refused { code, .. } => code == "NoSuchKey",
            _ => false,
        }
    }

    /// Why, and what to do.
    pub(super) fn why(&self, host: &str, bucket: &str, has_credentials: bool) -> (String, String) {
        let reach =
            "check the endpoint and the region (--s3-endpoint, --s3-region) and the network";
        let (why, fix) = match &self.kind {
            Kind::Silent(_) => (
                format!("{self} from {host}"),
                "check the network, or raise --s3-timeout",
            ),
            Kind::Passing(_) | Kind::Other(_) if !has_credentials => (
                format!(
                    "there are no credentials for {host} in the environment, and this machine has none: {self}"
                ),
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role; AWS_SKIP_SIGNATURE=true for a public bucket",
            ),
            Kind::Passing(_) | Kind::Other(_) => (format!("{host} cannot be used: {self}"), reach),
            Kind::Refused { code, .. } => match code.as_str() {
                "NoSuchBucket" => (
                    format!("{host} has no bucket '{bucket}'"),
                    "check the name in --models, and the endpoint and the region",
                ),
                "NoSuchKey" => (
                    format!("{host} does not have it any more"),
                    "put it there again, or remove the rest of its version",
                ),
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "301 Moved Permanently" => (
                    format!("the bucket is in another region than {host}"),
                    "say which with --s3-region or AWS_REGION",
                ),
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "InvalidClientTokenId" => (
                    format!("{host} refuses the credentials ({code})"),
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the role",
                ),
                "AccessDenied" => (
                    format!("{host} denies access ({code})"),
                    "allow s3:ListBucket on the bucket and s3:GetObject on its objects, and check the credentials",
                ),
                _ => (format!("{host} refuses: {self}"), reach),
            },
            Kind::Changed => (self.to_string(), "it is fetched once it stays as it is"),
            Kind::OddKey(_) => (
                self.to_string(),
                "rename the object: keys are such as MODEL/1/model.pt",
            ),
            Kind::Disk(_) => (
                format!("the cache cannot be written: {self}"),
                "make room, or name another folder with --model-cache",
            ),
        };
        (why, fix.to_owned())
    }
}

/// The innermost reason, in one line.
pub(super) fn detail(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let line: String = innermost
        .to_string()
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .take(300)
        .collect();
    line.trim().to_owned()
}

fn chain(error: &object_store::Error) -> String {
    // Each says its source, too.
    error.to_string()
}

fn is_transport(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<object_store::client::HttpError>() || error.is::<io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(from)?;
    rest.split_once(to).map(|(found, _)| found.trim())
}

fn odd(error: &path::Error) -> String {
    format!("an object has a key that names no file: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Failure {
        let source = format!("Server returned non-2xx status code: {body}").into();
        Failure::from(object_store::Error::Generic {
            store: "S3",
            source,
        })
    }

    #[test]
    fn a_refusal_is_told_by_its_code_and_nothing_else_of_the_answer_is_shown() {
        let failure = of(
            "403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>\
            <StringToSign>AWS4 secret</StringToSign></Error>",
        );
        let (why, fix) = failure.why("Amazon S3 in eu-west-1", "models", true);
        assert_eq!(
            why,
            "Amazon S3 in eu-west-1 refuses the credentials (SignatureDoesNotMatch)"
        );
        assert!(fix.starts_with("check AWS_ACCESS_KEY_ID"), "{fix}");
        assert!(!failure.to_string().contains("secret"));
        assert!(!failure.may_pass());
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (body, passes) in [
            ("503 Service Unavailable: ", true),
            (
                "503 Slow Down: <Code>SlowDown</Code><Message>m</Message>",
                true,
            ),
            (
                "500 Internal Server Error: <Code>InternalError</Code>",
                true,
            ),
            ("404 Not Found: <Code>NoSuchBucket</Code>", false),
            ("403 Forbidden: <Code>AccessDenied</Code>", false),
            ("400 Bad Request: ", false),
        ] {
            assert_eq!(of(body).may_pass(), passes, "{body}");
        }
    }

    #[test]
    fn an_odd_key_is_named() {
        let error = path::Path::parse("models/../secret").unwrap_err();
        let failure = Failure::from(object_store::Error::from(error));
        assert!(
            failure.to_string().contains("models/../secret"),
            "{failure}"
        );
        assert!(!failure.may_pass());
    }
}
