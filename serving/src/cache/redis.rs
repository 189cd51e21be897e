//! A Redis that several servers share. It is a help, never a need: what does not come in time is computed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use prometheus::{IntCounterVec, IntGauge, Opts, core::Collector};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, aio::MultiplexedConnection,
};
use tokio::{sync::Notify, time::timeout};

use super::Key;

/// After a connection that broke or was too slow, and between tries for a new one. Meanwhile nobody waits for it.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a new connection may take; no request waits for it.
const CONNECT: Duration = Duration::from_secs(2);

/// An answer is kept for so long where its model does not say: those of models that are gone have to go, too.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// What our keys begin with, for whoever else uses the same Redis.
const PREFIX: &[u8] = b"serin:answer:";

/// Where it is. It may hold a password.
#[derive(Clone)]
pub struct Address(Client);

/// A connection to it that is made anew when it breaks.
pub struct Shared {
    address: Address,
    /// How long a request waits for it.
    patience: Duration,
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    failures: IntCounterVec,
    connected: IntGauge,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redis")
    }
}

impl Address {
    /// Of `redis://[[user]:password@]host[:port][/database]`, or `redis+unix:///socket`.
    ///
    /// # Errors
    /// What is wrong with it, without saying it again: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("rediss:") {
            return Err("TLS is not supported: use redis://, over a network that is trusted or a proxy that encrypts".to_owned());
        }
        Client::open(text).map(Self).map_err(|_| {
            "it is no address of a Redis: write one such as redis://cache:6379/0".to_owned()
        })
    }
}

impl Shared {
    /// Without a connection, until [`Self::follow`] has made one.
    ///
    /// # Errors
    /// [`prometheus::Error`] if its metric is not valid.
    pub fn new(address: Address, patience: Duration) -> prometheus::Result<Self> {
        let failures = Opts::new(
            "serin_serve_cache_redis_failures_total",
            "Times that Redis could not be reached or did not answer in time, by what it was asked for.",
        );
        let connected = "1 while there is a connection to Redis.";
        Ok(Self {
            address,
            patience,
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            failures: IntCounterVec::new(failures, &["operation"])?,
            connected: IntGauge::new("serin_serve_cache_redis_connected", connected)?,
        })
    }

    /// What it counts.
    #[must_use]
    pub fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [
            Box::new(self.failures.clone()),
            Box::new(self.connected.clone()),
        ]
    }

    /// Keeps a connection. Never ends.
    pub async fn follow(&self) {
        let mut said = false;
        loop {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                // Each command has a time of its own.
                .set_response_timeout(None);
            let connecting = self
                .address
                .0
                .get_multiplexed_async_connection_with_config(&config);
            match timeout(CONNECT, connecting).await {
                Ok(Ok(connection)) => {
                    tracing::info!("connected to the Redis of the cache");
                    said = false;
                    self.connection.store(Some(Arc::new(connection)));
                    self.connected.set(1);
                    self.broken.notified().await;
                    self.connected.set(0);
                    tracing::warn!(
                        "the Redis of the cache fails or is slow: it is left alone for {PAUSE:?}"
                    );
                }
                failed => {
                    self.count("connect");
                    if !said {
                        let reason = failed.map_or_else(
                            |it| it.to_string(),
                            |it| it.err().map(|it| it.to_string()).unwrap_or_default(),
                        );
                        tracing::warn!(
                            reason,
                            "failed to connect to the Redis of the cache: models answer without it"
                        );
                    }
                    said = true;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn count(&self, operation: &str) {
        self.failures.with_label_values(&[operation]).inc();
    }

    /// What it has, if it says so in time.
    pub(super) async fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let mut command = redis::cmd("GET");
        command.arg([PREFIX, key].concat());
        self.ask("get", &command, self.patience).await?
    }

    /// Keeps a value there. No request waits for that.
    pub(super) async fn set(&self, key: &Key, value: &[u8], ttl: Option<Duration>) {
        let ttl = ttl.unwrap_or(KEEP).as_millis().max(1);
        let mut command = redis::cmd("SET");
        command.arg([PREFIX, key].concat()).arg(value);
        command
            .arg("PX")
            .arg(u64::try_from(ttl).unwrap_or(u64::MAX));
        let _: Option<()> = self.ask("set", &command, CONNECT).await;
    }

    async fn ask<T: FromRedisValue>(
        &self,
        operation: &str,
        command: &Cmd,
        patience: Duration,
    ) -> Option<T> {
        let connection = self.connection.load_full()?;
        let mut line = MultiplexedConnection::clone(&connection);
        let begun = Instant::now();
        let answer: Result<Result<T, RedisError>, _> =
            timeout(patience, command.query_async(&mut line)).await;
        let reason = match answer {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", begun.elapsed()),
        };
        self.count(operation);
        tracing::debug!(operation, reason, "the Redis of the cache fails");
        // The next requests do not try it, unless somebody has replaced the connection since.
        let previous = self.connection.compare_and_swap(&connection, None);
        let ours = |it: &Arc<_>| Arc::ptr_eq(it, &connection);
        if previous.as_ref().is_some_and(ours) {
            self.broken.notify_one();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shown() {
        for text in ["redis://cache", "redis://:secret@cache:6380/2"] {
            let address = Address::parse(text).unwrap();
            assert_eq!(format!("{address:?}"), "redis");
        }
        for text in ["", "cache:6379", "http://cache", "rediss://:secret@cache"] {
            let error = Address::parse(text).unwrap_err();
            assert!(
                error.contains("redis://") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
