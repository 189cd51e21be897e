//! A Redis that several servers share. It is a help, never a need: what does not come in time is computed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use prometheus::{IntCounterVec, IntGauge, Opts, core::Collector};
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Key;

/// After a connection that broke or was too slow, and between tries for a new one. Meanwhile nobody waits for it.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a new connection may take; no request waits for it.
const CONNECT: Duration = Duration::from_secs(2);

/// An answer is kept for so long where its model does not say: those of models that are gone have to go, too.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Answers that are on their way there at once; more of them are not given to it.
const SENDING: usize = 16;

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
    sending: Arc<Semaphore>,
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
            sending: Arc::new(Semaphore::new(SENDING)),
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

    /// What it has, and for how long still, if it says so in time.
    pub(super) async fn get(&self, key: &Key) -> Option<(Vec<u8>, Option<Duration>)> {
        let key = [PREFIX, key].concat();
        let mut both = redis::pipe();
        both.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let query = async |line: &mut _| both.query_async(line).await;
        let found = self.ask("get", self.patience, query).await;
        let (value, left): (Option<Vec<u8>>, i64) = found?;
        // Negative: it is kept for ever, or has just gone, when its time is as good as over.
        let left = u64::try_from(left).ok().map(Duration::from_millis);
        Some((value?, left))
    }

    /// A turn to give it a value, if it is there and not busy with others.
    pub(super) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.connection.load().as_ref()?;
        Arc::clone(&self.sending).try_acquire_owned().ok()
    }

    /// Keeps a value there. No request waits for that.
    pub(super) async fn set(&self, key: &Key, value: &[u8], ttl: Option<Duration>) {
        let ttl = ttl.unwrap_or(KEEP).as_millis().max(1);
        let mut command = redis::cmd("SET");
        command.arg([PREFIX, key].concat()).arg(value);
        command
            .arg("PX")
            .arg(u64::try_from(ttl).unwrap_or(u64::MAX));
        let query = async |line: &mut _| command.query_async(line).await;
        let _: Option<()> = self.ask("set", CONNECT, query).await;
    }

    async fn ask<T>(
        &self,
        operation: &str,
        patience: Duration,
        query: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        let connection = self.connection.load_full()?;
        let mut line = MultiplexedConnection::clone(&connection);
        let begun = Instant::now();
        let answer = timeout(patience, query(&mut line)).await;
        let (reason, refused) = match answer {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => (error.to_string(), !error.is_unrecoverable_error()),
            Err(_) => (format!("no answer within {:?}", begun.elapsed()), false),
        };
        self.count(operation);
        tracing::debug!(operation, reason, "the Redis of the cache fails");
        // Such as a SET without memory for it: it still has what it has.
        if refused {
            return None;
        }
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
