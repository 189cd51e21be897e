//! Live numbers: the controller's read-only endpoint, through the API server's service proxy. Nothing depends on them;
//! where they cannot be had, the last checkpoint is shown, and one sentence says why.

use std::time::Duration;

use kube::Error;
use serde::de::DeserializeOwned;

use super::Cluster;
use super::words::{self, Server};
use crate::cli::wanted::Wanted;
use crate::cluster::names;
use crate::endpoint::Snapshot;
use crate::report::Status;

/// Nobody waits long for what is only nicer to have.
const PATIENCE: Duration = Duration::from_secs(3);

/// Role of the manifests, in the namespace of the controller.
const ROLE: &str = "serin-live";

/// What the controller says now.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) rollouts: Vec<Status>,
    /// Why it says nothing.
    pub(super) warning: Option<String>,
}

impl Cluster {
    pub(super) async fn live(&self, wanted: Option<&Wanted>) -> Live {
        let namespace = wanted
            .and_then(|wanted| wanted.namespace.as_ref())
            .or(self.namespace.as_ref());
        let answer = match (wanted, namespace) {
            (Some(wanted), Some(namespace)) => {
                let one: Result<Status, _> =
                    self.ask(&format!("/{namespace}/{}", wanted.name)).await;
                one.map(|status| Live {
                    rollouts: vec![status],
                    ..Live::default()
                })
            }
            _ => {
                let all: Result<Snapshot, _> = self.ask("").await;
                // Its problems are those of resources, which say them themselves.
                all.map(|snapshot| Live {
                    rollouts: snapshot.rollouts,
                    ..Live::default()
                })
            }
        };
        answer.unwrap_or_else(|warning| Live {
            warning,
            ..Live::default()
        })
    }

    /// Asks the endpoint; an error says why there are no numbers, if that is worth a word.
    async fn ask<T: DeserializeOwned>(&self, rest: &str) -> Result<T, Option<String>> {
        let (service, port) = names::SERVICE;
        let url = format!(
            "/api/v1/namespaces/{}/services/http:{service}:{port}/proxy/v1/rollouts{rest}",
            self.controller
        );
        let request = http_request(url).map_err(|error| Some(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        match answer {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(why_not(&error, &self.controller, &self.server)),
            Err(_) => Err(Some(format!(
                "live numbers are left out: the controller has not answered within {PATIENCE:?}"
            ))),
        }
    }
}

fn http_request(url: String) -> Result<axum::http::Request<Vec<u8>>, axum::http::Error> {
    axum::http::Request::get(url).body(Vec::new())
}

/// Why there are no live numbers; `None` where the controller itself says that it has none of this yet, as one does that
/// does not lead.
fn why_not(error: &Error, namespace: &str, server: &Server) -> Option<String> {
    let why = match error {
        // An answer of the controller, which is no `Status` of Kubernetes.
        Error::Api(status) if status.code == 0 => return None,
        Error::Api(status) if status.code == 403 => words::denied(&status.message).map_or_else(
            || status.message.clone(),
            |denied| format!("{denied} (the role {ROLE} there allows it)"),
        ),
        Error::Api(status) if status.code == 404 => format!(
            "there is no service '{}' in namespace {namespace} (--controller-namespace names another one)",
            names::SERVICE.0
        ),
        Error::Api(status) if status.code == 503 => {
            format!("no controller is ready in namespace {namespace}")
        }
        Error::SerdeError(_) => {
            "the controller's answer is not understood: it is of another version than this command"
                .to_owned()
        }
        other => server.why(other),
    };
    Some(format!(
        "live numbers are left out, this is the last checkpoint: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status as Refusal;

    fn said(message: &str, code: u16) -> Option<String> {
        let refusal = Refusal::failure(message, "x").with_code(code);
        let server = Server("https://api".to_owned());
        why_not(&Error::Api(refusal.boxed()), "serin-system", &server)
    }

    #[test]
    fn it_is_said_why_there_are_no_live_numbers() {
        let forbidden = r#"services "http:serin-controller:http" is forbidden: User "dev" cannot get resource "services/proxy" in API group "" in the namespace "serin-system""#;
        let text = said(forbidden, 403).unwrap();
        assert!(
            text.ends_with(
                "dev may not get services/proxy in namespace serin-system (the role serin-live there allows it)"
            ),
            "{text}"
        );
        let text = said("services \"serin-controller\" not found", 404).unwrap();
        assert!(text.contains("--controller-namespace"), "{text}");
        assert!(
            said("no endpoints available", 503)
                .unwrap()
                .contains("no controller is ready in namespace serin-system")
        );
    }

    #[test]
    fn a_controller_that_has_nothing_to_say_is_no_trouble() {
        assert_eq!(said("", 0), None);
    }
}
