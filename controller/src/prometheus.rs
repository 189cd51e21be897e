//! Reads Prometheus: a constant number of queries per tick for all rollouts together.

mod access;
mod answer;
mod clock;
mod query;
mod sample;
mod transport;

pub use access::{Access, AccessError, Credentials};
pub use answer::Row;
pub use query::{
    Selectors, answers_query, cell_query, custom_query, guard_query, proxies_query, ready_query,
};
pub use sample::{GuardCounts, RolloutCounts, Tallies, answers, custom, proxies, ready};

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use answer::Answer;
use clock::Clock;
use transport::Transport;

/// How long one query may take; Prometheus itself is told a little less.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is behind a failure, whatever carried the request.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to one Prometheus.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    endpoint: String,
    access: Arc<Access>,
    clock: Arc<Clock>,
}

/// Why a query gave no answer. No answer is never zero.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No HTTP client could be made.
    #[error("failed to set up the HTTP client")]
    Client(#[source] BoxError),
    /// Certificates or credentials are not there, or not what they should be.
    #[error("failed to prepare the way to Prometheus")]
    Access(#[source] AccessError),
    /// The address does not answer.
    #[error("failed to reach '{endpoint}'")]
    Unreachable {
        /// Address as configured.
        endpoint: String,
        /// Why.
        source: BoxError,
    },
    /// We are not let in.
    #[error(
        "'{endpoint}' answered {status}: it wants other credentials (--prometheus-bearer-token-file or \
         --prometheus-basic-auth-file)"
    )]
    NotLetIn {
        /// Address as configured.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// An answer that is not Prometheus'.
    #[error("'{endpoint}' answered {status} with something that is not a Prometheus answer")]
    NotPrometheus {
        /// Address as configured.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// Prometheus does not understand the query.
    #[error("Prometheus cannot read the query: {0}")]
    Malformed(String),
    /// What the installation says of its proxies makes no query.
    #[error(
        "the label matchers that --proxies gives, {proxies}, are wrong; write them as job=\"envoy\", several with commas \
         between: {reason}"
    )]
    Matchers {
        /// As configured.
        proxies: String,
        /// In Prometheus' words.
        reason: String,
    },
    /// Prometheus refused the query.
    #[error("Prometheus refused the query: {0}")]
    Refused(String),
    /// An answer with warnings may be partial, and a partial answer counts wrong.
    #[error("Prometheus answered in part only: {0}")]
    Partial(String),
}

impl QueryError {
    fn of_matchers(self, selectors: &Selectors) -> Self {
        match self {
            Self::Malformed(reason) => Self::Matchers {
                proxies: selectors.proxies.clone(),
                reason,
            },
            other => other,
        }
    }
}

impl Client {
    /// `endpoint` is the base address, such as `http://127.0.0.1:9090`; with `https` the system's certificates are trusted.
    ///
    /// # Errors
    /// As [`Client::with_access`].
    pub fn new(endpoint: &str) -> Result<Self, QueryError> {
        Self::with_access(endpoint, Access::default())
    }

    /// The same with certificates and credentials of one's own. With `https` only within a runtime. It connects when it is
    /// first asked.
    ///
    /// # Errors
    /// [`QueryError::Access`] for files that are not there, [`QueryError::Client`] for certificates that are none.
    pub fn with_access(endpoint: &str, access: Access) -> Result<Self, QueryError> {
        access.check(endpoint).map_err(QueryError::Access)?;
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Self {
            transport: Transport::new(&endpoint, &access, TIMEOUT)?,
            endpoint,
            access: Arc::new(access),
            clock: Arc::default(),
        })
    }

    /// [`Client::query`] for a query that takes nothing from anybody but `selectors`.
    ///
    /// # Errors
    /// As there, but [`QueryError::Matchers`] for one that Prometheus does not understand.
    pub async fn query_proxies(
        &self,
        selectors: &Selectors,
        query: &str,
        time: Timestamp,
    ) -> Result<Vec<Row<'static>>, QueryError> {
        let rows = self.query(query, time).await;
        rows.map_err(|error| error.of_matchers(selectors))
    }

    /// [`Client::stream`] for a query that takes nothing from anybody but `selectors`.
    ///
    /// # Errors
    /// As there, but [`QueryError::Matchers`] for one that Prometheus does not understand.
    pub async fn stream_proxies(
        &self,
        selectors: &Selectors,
        query: &str,
        time: Timestamp,
        take: impl FnMut(&Row<'_>),
    ) -> Result<(), QueryError> {
        let read = self.stream(query, time, take).await;
        read.map_err(|error| error.of_matchers(selectors))
    }

    /// Prometheus' time at our own time `now`, by its last answer. Cells are cut out of its time: by a clock of ours that
    /// is ahead they would be read before they have happened, as nothing, and never again.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        self.clock.time(now)
    }

    /// The instant vector of `query` at `time`.
    ///
    /// # Errors
    /// Any [`QueryError`] but `Client` and `Matchers`.
    pub async fn query(
        &self,
        query: &str,
        time: Timestamp,
    ) -> Result<Vec<Row<'static>>, QueryError> {
        let mut rows = Vec::new();
        self.stream(query, time, |row| rows.push(row.to_owned()))
            .await?;
        Ok(rows)
    }

    /// Hands over the rows of the instant vector of `query` at `time`, one by one.
    ///
    /// # Errors
    /// Any [`QueryError`] but `Client` and `Matchers`; rows that were handed over before mean nothing then.
    pub async fn stream(
        &self,
        query: &str,
        time: Timestamp,
        take: impl FnMut(&Row<'_>),
    ) -> Result<(), QueryError> {
        let time = format!(
            "{}.{:03}",
            time.as_millisecond().div_euclid(1000),
            time.as_millisecond().rem_euclid(1000)
        );
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("query", query), ("time", &time), ("timeout", "4s")])
            .finish();
        let asked = format!("/api/v1/query?{query}");
        let sent = Timestamp::now();
        let response = self
            .transport
            .get(&self.endpoint, &asked, &self.access, TIMEOUT)
            .await?;
        if let Some(date) = response.date {
            self.clock.learn(sent, date, Timestamp::now());
        }
        let (status, body) = (response.status, response.body);
        if matches!(status, 401 | 403) {
            let endpoint = self.endpoint.clone();
            return Err(QueryError::NotLetIn { endpoint, status });
        }
        let unreadable = || QueryError::NotPrometheus {
            endpoint: self.endpoint.clone(),
            status,
        };
        let answer = Answer::read(&body, take).map_err(|_| unreadable())?;
        match (&*answer.status, &*answer.error_type) {
            ("success", _) => {}
            ("error", "bad_data") => return Err(QueryError::Malformed(answer.error)),
            ("error", _) => return Err(QueryError::Refused(answer.error)),
            _ => return Err(unreadable()),
        }
        if !answer.warnings.is_empty() {
            return Err(QueryError::Partial(answer.warnings.join("; ")));
        }
        answer.complete.then_some(()).ok_or_else(unreadable)
    }
}

#[cfg(test)]
mod tests;
