//! Reads Prometheus: a constant number of queries per tick for all rollouts together.

mod query;
mod sample;

pub use query::{
    Selectors, answers_query, cell_query, custom_query, guard_query, proxies_query, ready_query,
};
pub use sample::{RolloutCounts, Tallies, VariantKey, answers, counts, custom, proxies, ready};

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

/// How long one query may take; Prometheus itself is told a little less.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one Prometheus.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoint: String,
}

/// Why a query gave no answer. No answer is never zero.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No HTTP client could be made.
    #[error("failed to set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The address does not answer.
    #[error("failed to reach '{endpoint}'")]
    Unreachable {
        /// Address as configured.
        endpoint: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that is not Prometheus'.
    #[error("'{endpoint}' answered {status} with something that is not a Prometheus answer")]
    NotPrometheus {
        /// Address as configured.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// Prometheus refused the query.
    #[error("Prometheus refused the query: {0}")]
    Refused(String),
    /// An answer with warnings may be partial, and a partial answer counts wrong.
    #[error("Prometheus answered in part only: {0}")]
    Partial(String),
}

/// One row of an instant vector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Row {
    /// Labels.
    pub metric: std::collections::BTreeMap<String, String>,
    /// Unix time and value as text, as Prometheus sends them.
    pub value: (f64, String),
}

impl Row {
    /// A label's value; empty when it is absent, as in Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// The value; `None` when it is not a finite number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        self.value
            .1
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

impl Client {
    /// `endpoint` is the base address, such as `http://127.0.0.1:9090`.
    ///
    /// # Errors
    /// [`QueryError::Client`].
    pub fn new(endpoint: &str) -> Result<Self, QueryError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(QueryError::Client)?;
        Ok(Self {
            http,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
        })
    }

    /// The instant vector of `query` at `time`.
    ///
    /// # Errors
    /// Any [`QueryError`] but `Client`.
    pub async fn query(&self, query: &str, time: Timestamp) -> Result<Vec<Row>, QueryError> {
        let unreachable = |source: reqwest::Error| QueryError::Unreachable {
            endpoint: self.endpoint.clone(),
            // Its address holds the whole query, which hides the reason from whoever reads the message.
            source: source.without_url(),
        };
        let time = format!(
            "{}.{:03}",
            time.as_millisecond().div_euclid(1000),
            time.as_millisecond().rem_euclid(1000)
        );
        let request = self
            .http
            .get(format!("{}/api/v1/query", self.endpoint))
            .query(&[("query", query), ("time", &time), ("timeout", "4s")]);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(unreachable)?;
        let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
            return Err(QueryError::NotPrometheus {
                endpoint: self.endpoint.clone(),
                status,
            });
        };
        match answer.data {
            _ if answer.status != "success" => Err(QueryError::Refused(answer.error)),
            _ if !answer.warnings.is_empty() => {
                Err(QueryError::Partial(answer.warnings.join("; ")))
            }
            Some(data) => Ok(data.result),
            None => Err(QueryError::NotPrometheus {
                endpoint: self.endpoint.clone(),
                status,
            }),
        }
    }
}
