//! An Envoy process with its admin interface, whatever its configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::exposition::{self, Sample};
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long Envoy may take to start: V8 compiles the filter on a machine that may be busy with other tests.
const START: Duration = Duration::from_secs(60);

/// How long a metric may take to become what it should: Envoy flushes its workers' counts every second, but the machine
/// may be busy.
const METRIC: Duration = Duration::from_secs(60);

/// A running Envoy.
#[derive(Debug)]
pub struct Proxy {
    name: String,
    workers: u32,
    bootstrap: Value,
    world: World,
    process: Process,
    admin: u16,
    client: reqwest::Client,
}

impl Proxy {
    /// Starts Envoy and waits until it serves. `name` is that of its log; the bootstrap (`config.bootstrap.v3.Bootstrap`)
    /// is given the admin interface, on a port of its own, and a flush of the statistics each second.
    ///
    /// # Errors
    /// When Envoy is not there, ends early (with the end of its log), or is not ready in time.
    pub async fn start(
        world: &World,
        name: &str,
        workers: u32,
        mut bootstrap: Value,
    ) -> Result<Proxy> {
        // Not port 0: after a restart clients and Prometheus find it where it was.
        let admin = ports::free()?;
        bootstrap["admin"] = json!({"address": address(admin)});
        bootstrap["stats_flush_interval"] = json!("1s");
        Proxy::start_on(world.clone(), name.to_owned(), workers, bootstrap, admin).await
    }

    /// Ends Envoy and starts it again on the same ports, with the files as they are now.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub async fn restart(self) -> Result<Proxy> {
        let Proxy {
            name,
            workers,
            bootstrap,
            world,
            process,
            admin,
            ..
        } = self;
        process.stop().await?;
        Proxy::start_on(world, name, workers, bootstrap, admin).await
    }

    async fn start_on(
        world: World,
        name: String,
        workers: u32,
        bootstrap: Value,
        admin: u16,
    ) -> Result<Proxy> {
        let process = spawn(&world, &name, workers, &bootstrap)?;
        let mut proxy = Proxy {
            name,
            workers,
            bootstrap,
            world,
            process,
            admin,
            client: reqwest::Client::new(),
        };
        proxy.ready().await?;
        Ok(proxy)
    }

    /// Where its admin interface is, which is what Prometheus scrapes.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin))
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its metrics as Prometheus would scrape them now.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn metrics(&self) -> Result<Vec<Sample>> {
        exposition::parse(&self.admin("/stats/prometheus").await?)
    }

    /// One of Envoy's own counters or gauges; zero when there is none of that name.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let text = self.admin(&format!("/stats?filter=^{name}$")).await?;
        let Some((_, value)) = text.trim().split_once(": ") else {
            return Ok(0);
        };
        value
            .parse()
            .with_context(|| format!("failed to read the value of '{name}'"))
    }

    /// Waits until a metric, summed over the series with these labels, is what `accept` wants, and returns it.
    ///
    /// # Errors
    /// After a minute, with the last value.
    pub async fn metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        accept: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        wait::until(METRIC, &format!("{name} {labels:?}"), async || {
            let value = exposition::sum(&self.metrics().await?, name, labels);
            if !accept(value) {
                bail!("it is {value}");
            }
            Ok(value)
        })
        .await
    }

    /// What the admin interface answers to a GET.
    ///
    /// # Errors
    /// When it does not answer, or answers with an error.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.admin_address());
        let answer = self
            .client
            .get(&url)
            .send()
            .await
            .context("failed to reach Envoy's admin")?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .context("failed to read what Envoy's admin says")?;
        if !status.is_success() {
            bail!("'{path}' answers {status}: {text}");
        }
        Ok(text)
    }

    async fn ready(&mut self) -> Result<()> {
        wait::until(START, "Envoy to be ready", async || {
            self.process.alive()?;
            self.admin("/ready").await
        })
        .await?;
        Ok(())
    }
}

fn spawn(world: &World, name: &str, workers: u32, bootstrap: &Value) -> Result<Process> {
    let path = world.file(format!("{name}.json"));
    std::fs::write(&path, bootstrap.to_string())
        .with_context(|| format!("failed to write {}", path.display()))?;
    let workers = workers.to_string();
    let arguments = [
        "--config-path".as_ref(),
        path.as_os_str(),
        "--concurrency".as_ref(),
        workers.as_ref(),
        // Several Envoys on one machine would share memory otherwise. A base id of each one's own would do as well,
        // but leaves a file in /dev/shm for ever.
        "--disable-hot-restart".as_ref(),
        // Nothing drains for minutes in a test.
        "--drain-time-s".as_ref(),
        "1".as_ref(),
        "--log-level".as_ref(),
        "warning".as_ref(),
    ];
    Process::start(world, name, &tools::envoy()?, arguments)
}

/// A port of this machine as Envoy has it (`config.core.v3.Address`).
#[must_use]
pub fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}
