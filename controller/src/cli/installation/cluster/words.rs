//! What the API server refuses, in words that say what to do. Pure.

use std::error::Error as _;
use std::fmt;

use kube::Error;
use kube::runtime::watcher;

/// Roles of the manifests that people get.
const VIEW: &str = "serin-view";
const OPERATE: &str = "serin-operate";

/// Address of an API server.
#[derive(Clone, Debug)]
pub(super) struct Server(pub(super) String);

/// Serin's resource is unknown to a cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster at {0} knows no ModelRollouts: another one is meant (--context, --kubeconfig), or Serin is still to be \
     installed in it (kubectl apply -k manifests/base)"
)]
struct NotInstalled(String);

/// Whether an error says that the cluster has no Serin.
pub(super) fn is_not_installed(error: &anyhow::Error) -> bool {
    error.is::<NotInstalled>()
}

impl Server {
    /// The error of a request about rollouts.
    pub(super) fn plain(&self, error: &Error) -> anyhow::Error {
        match error {
            Error::Api(status) if status.code == 404 => NotInstalled(self.0.clone()).into(),
            error => anyhow::anyhow!(self.why(error)),
        }
    }

    pub(super) fn plain_watch(&self, error: watcher::Error) -> anyhow::Error {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => self.plain(&error),
            other => anyhow::anyhow!(other),
        }
    }

    /// Why a request failed.
    pub(super) fn why(&self, error: &Error) -> String {
        match error {
            Error::Api(status) if status.code == 401 => format!(
                "the API server at {} does not know the kubeconfig's user: the credentials have expired, or belong to \
                 another cluster",
                self.0
            ),
            Error::Api(status) if status.code == 403 => {
                denied(&status.message).map_or_else(|| status.message.clone(), |it| it.remedy())
            }
            Error::Api(status) => status.message.clone(),
            Error::Auth(error) => format!("the kubeconfig's credentials cannot be had: {error}"),
            other => format!(
                "the API server at {} does not answer: {}",
                self.0,
                last_cause(other)
            ),
        }
    }
}

/// The innermost cause: those around it say where in our own program it came up.
fn last_cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() {
        return error.to_string();
    }
    cause.to_string()
}

/// What somebody may not do, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    user: String,
    verb: String,
    resource: String,
    namespace: Option<String>,
}

/// Reads a refusal of the API server (`User "x" cannot get resource "y" in API group "z" in the namespace "n"`).
pub(super) fn denied(message: &str) -> Option<Denied> {
    let quoted = |before: &str| {
        let (_, rest) = message.split_once(before)?;
        let (value, _) = rest.split_once('"')?;
        Some(value.to_owned())
    };
    let user = quoted("User \"")?;
    let (_, rest) = message.split_once("\" cannot ")?;
    let (verb, _) = rest.split_once(' ')?;
    let resource = quoted("resource \"")?;
    let group = quoted("in API group \"")?;
    Some(Denied {
        user,
        verb: verb.to_owned(),
        resource: if group.is_empty() {
            resource
        } else {
            format!("{resource}.{group}")
        },
        namespace: quoted("in the namespace \""),
    })
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            verb,
            resource,
            namespace,
        } = self;
        write!(f, "{user} may not {verb} {resource}")?;
        match namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

impl Denied {
    /// What is missing, and who can give it.
    fn remedy(&self) -> String {
        let role = if matches!(self.verb.as_str(), "get" | "list" | "watch") {
            VIEW
        } else {
            OPERATE
        };
        let user = &self.user;
        let whom = match user.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={user}"),
        };
        let name: String = format!("{role}-{user}").replace(['/', '%', ':'], "-");
        match &self.namespace {
            Some(namespace) => format!(
                "{self}: the role {role} allows it, and an administrator gives it with 'kubectl create rolebinding \
                 {name} -n {namespace} --clusterrole={role} {whom}'"
            ),
            None => format!(
                "{self}: name one with -n, or let an administrator allow it with 'kubectl create clusterrolebinding \
                 {name} --clusterrole={role} {whom}'"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn why(message: &str, code: u16) -> String {
        let status = Status::failure(message, "x").with_code(code);
        let server = Server("https://api".to_owned());
        server.plain(&Error::Api(status.boxed())).to_string()
    }

    #[test]
    fn a_missing_right_is_named_with_the_role_that_has_it() {
        let message = r#"modelrollouts.serin.dev "fraud" is forbidden: User "dev" cannot patch resource "modelrollouts" in API group "serin.dev" in the namespace "ml""#;
        assert_eq!(
            why(message, 403),
            "dev may not patch modelrollouts.serin.dev in namespace ml: the role serin-operate allows it, and an \
             administrator gives it with 'kubectl create rolebinding serin-operate-dev -n ml \
             --clusterrole=serin-operate --user=dev'"
        );
        let message = r#"modelrollouts.serin.dev is forbidden: User "system:serviceaccount:ci:bot" cannot list resource "modelrollouts" in API group "serin.dev" at the cluster scope"#;
        let said = why(message, 403);
        assert!(
            said.contains(
                "may not list modelrollouts.serin.dev in all namespaces: name one with -n"
            ),
            "{said}"
        );
        assert!(
            said.contains("serin-view-system-serviceaccount-ci-bot --clusterrole=serin-view --serviceaccount=ci:bot"),
            "{said}"
        );
    }

    #[test]
    fn a_refusal_in_other_words_is_passed_on() {
        assert_eq!(
            why("quota exceeded: User is over", 403),
            "quota exceeded: User is over"
        );
    }

    #[test]
    fn a_cluster_without_serin_is_said_to_be_one() {
        let status = Status::failure("404 page not found", "x").with_code(404);
        let error = Server("https://api".to_owned()).plain(&Error::Api(status.boxed()));
        assert!(is_not_installed(&error), "{error}");
        assert!(error.to_string().contains("--context"), "{error}");
    }
}
