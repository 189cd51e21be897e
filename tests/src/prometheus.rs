//! A real Prometheus that scrapes Envoys.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

use crate::exposition::Sample;
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long Prometheus may take to start; replaying its log of a few minutes is part of it.
const START: Duration = Duration::from_secs(60);

/// What is scraped.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// Labels of all its series, such as the namespace of its pod.
    pub labels: BTreeMap<String, String>,
}

/// A Prometheus; it may be down for a while, its data stay.
#[derive(Debug)]
pub struct Prometheus {
    world: World,
    config: PathBuf,
    port: u16,
    process: Option<Process>,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts Prometheus with one job, `envoy`, and waits until it answers.
    ///
    /// # Errors
    /// When Prometheus is not there, ends early (with the end of its log), or is not ready in time.
    pub async fn start(
        world: &World,
        scrape_interval: Duration,
        targets: &[SocketAddr],
    ) -> Result<Prometheus> {
        Prometheus::start_on(world, ports::free()?, scrape_interval, targets).await
    }

    /// The same on a port that was chosen before, for a controller that had to know it first.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub async fn start_on(
        world: &World,
        port: u16,
        scrape_interval: Duration,
        targets: &[SocketAddr],
    ) -> Result<Prometheus> {
        let bare = |address: &SocketAddr| Target {
            address: *address,
            labels: BTreeMap::new(),
        };
        let targets: Vec<_> = targets.iter().map(bare).collect();
        Prometheus::start_with(world, port, scrape_interval, &targets).await
    }

    /// The same with labels of the targets.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub async fn start_with(
        world: &World,
        port: u16,
        scrape_interval: Duration,
        targets: &[Target],
    ) -> Result<Prometheus> {
        let config = world.file("prometheus.json");
        let targets: Vec<_> = targets
            .iter()
            .map(|target| json!({"targets": [target.address], "labels": target.labels}))
            .collect();
        // JSON is YAML, which is what Prometheus reads.
        let interval = format!("{}ms", scrape_interval.as_millis());
        let text = json!({
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{
                "job_name": "envoy",
                "metrics_path": "/stats/prometheus",
                "static_configs": targets,
            }],
        });
        std::fs::write(&config, text.to_string())
            .with_context(|| format!("failed to write {}", config.display()))?;
        let mut prometheus = Prometheus {
            world: world.clone(),
            config,
            port,
            process: None,
            client: reqwest::Client::new(),
        };
        prometheus.up().await?;
        Ok(prometheus)
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "http://{}",
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
        )
    }

    /// Starts it again on the same port and data; nothing happens when it runs.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub async fn up(&mut self) -> Result<()> {
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(spawn(&self.world, &self.config, self.port)?),
        };
        let url = format!("http://127.0.0.1:{}/-/ready", self.port);
        wait::until(START, "Prometheus to be ready", async || {
            process.alive()?;
            let answer = self
                .client
                .get(&url)
                .send()
                .await
                .context("failed to reach Prometheus")?;
            answer
                .error_for_status()
                .context("Prometheus is not ready")?;
            Ok(())
        })
        .await
    }

    /// Stops it; its port and data stay.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn down(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop().await?;
        }
        Ok(())
    }

    /// Evaluates an instant query whose answer is a vector; each series comes with its name, if it has one.
    ///
    /// # Errors
    /// When Prometheus does not answer, refuses the query, or answers with another type.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let answer = self
            .client
            .get(format!("{}/api/v1/query", self.url()))
            .query(&[("query", query)])
            .send()
            .await
            .context("failed to reach Prometheus")?;
        let answer: Answer = answer
            .json()
            .await
            .context("failed to read Prometheus' answer")?;
        let Some(data) = answer.data else {
            bail!(
                "failed to evaluate '{query}': {}",
                answer.error.unwrap_or_default()
            );
        };
        data.result.into_iter().map(Series::sample).collect()
    }
}

fn spawn(world: &World, config: &Path, port: u16) -> Result<Process> {
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", world.file("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ];
    Process::start(world, "prometheus", &tools::prometheus()?, arguments)
}

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Series {
    fn sample(mut self) -> Result<Sample> {
        let value = self
            .value
            .1
            .parse()
            .context("failed to read a value of Prometheus")?;
        let name = self.metric.remove("__name__").unwrap_or_default();
        Ok(Sample {
            name,
            labels: self.metric,
            value,
        })
    }
}
