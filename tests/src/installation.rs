//! A standalone installation with every part real: the controller, an Envoy with the filter, a Prometheus that scrapes
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serin_controller::endpoint::Snapshot;
use serin_controller::report::Status;
use serin_controller::standalone::store::{StateFile, Store};
use serin_controller::validate::RolloutName;

use crate::envoy::{Envoy, Setup};
use crate::process::Process;
use crate::prometheus::Prometheus;
use crate::wait::Hopeless;
use crate::world::World;
use crate::{discovery, ports, programs, tools, wait};

/// Scraping every second, with cells and lag of two: what makes a test or a demo quick, and honest.
const SCRAPE: Duration = Duration::from_secs(1);
const GRID: [&str; 4] = ["--cell", "2s", "--lag", "2s"];

/// How long the controller may take to write its first files or to answer.
const START: Duration = Duration::from_secs(30);

/// Everything that runs. Dropped, it is gone, folder and all.
#[derive(Debug)]
pub struct Installation {
    /// The folder of all its files.
    pub world: World,
    /// The data plane.
    pub envoy: Envoy,
    /// What the controller reads.
    pub prometheus: Prometheus,
    controller: Option<Process>,
    folder: PathBuf,
    programs: tools::Programs,
    filter: PathBuf,
    client: reqwest::Client,
}

impl Installation {
    /// Starts everything with some rollout files: name in the folder and text.
    ///
    /// # Errors
    /// When a part is not there, ends early, or is not ready in time.
    pub async fn start(
        world: World,
        workers: u32,
        clusters: BTreeMap<String, u16>,
        rollouts: &[(&str, &str)],
    ) -> Result<Installation> {
        let (programs, filter) =
            tokio::task::spawn_blocking(|| anyhow::Ok((tools::programs()?, tools::filter()?)))
                .await
                .context("the build ended in a panic")??;
        let folder = world.folder("serin")?;
        for (name, text) in rollouts {
            discovery::replace(&folder.join(name), text.as_bytes())?;
        }
        // Envoy wants the controller's files, Prometheus wants Envoy's port, the controller wants Prometheus' address.
        let port = ports::free()?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let controller = start_controller(&world, &programs.serin, &folder, &endpoint, &filter)?;
        let store = Store::open(&folder)?;
        wait::until_true(START, "the controller to write Envoy's files", async || {
            store.rds().exists() && store.ecds().exists()
        })
        .await?;
        let endpoints = world.folder("endpoints")?;
        for (cluster, port) in &clusters {
            discovery::write_endpoints(&endpoints.join(cluster), cluster, *port, 1)?;
        }
        let setup = Setup {
            name: "envoy".to_owned(),
            workers,
            clusters,
            endpoints: Some(endpoints),
            plugin: store.ecds(),
            routes: store.rds(),
        };
        let envoy = Envoy::start(&world, setup).await?;
        let prometheus =
            Prometheus::start_on(&world, port, SCRAPE, &[envoy.admin_address()]).await?;
        // What a proxy counted before its first scrape, or in the cell of it, is history that no cell may claim
        // (statistics 7.1), so traffic should begin a cell later. Prometheus takes up its targets after five seconds.
        wait::until(START, "the first scrapes", async || {
            let scraped = prometheus.query("count_over_time(up[1m]) > 3").await?;
            if scraped.is_empty() {
                bail!("no target has been scraped for a cell")
            }
            Ok(())
        })
        .await?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(3))
            .build()?;
        Ok(Installation {
            world,
            envoy,
            prometheus,
            controller: Some(controller),
            folder,
            programs,
            filter,
            client,
        })
    }

    /// The installation's folder, as `serin run --standalone` has it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a rollout file, as an editor would that renames.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_rollout(&self, file: &str, text: &str) -> Result<()> {
        discovery::replace(&self.folder.join(file), text.as_bytes())
    }

    /// Gives a cluster so many ready endpoints.
    ///
    /// # Errors
    /// When there is no such cluster, or its file cannot be written.
    pub fn set_endpoints(&self, cluster: &str, count: u8) -> Result<()> {
        let setup = self.envoy.setup();
        let port = setup.clusters.get(cluster).context("no such cluster")?;
        let folder = setup
            .endpoints
            .as_ref()
            .context("the endpoints are fixed")?;
        discovery::write_endpoints(&folder.join(cluster), cluster, *port, count)
    }

    /// What the controller's endpoint says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let store = Store::open(&self.folder)?;
        let address = store
            .controller()?
            .context("no controller has run here")?
            .address;
        let answer = self
            .client
            .get(format!("{address}/v1/rollouts"))
            .send()
            .await;
        Ok(answer
            .context("the controller does not answer")?
            .error_for_status()?
            .json()
            .await?)
    }

    /// A rollout's status as the endpoint says it.
    ///
    /// # Errors
    /// When the controller does not answer or does not know the rollout.
    pub async fn status(&self, namespace: &str, name: &str) -> Result<Status> {
        let name = RolloutName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let snapshot = self.snapshot().await?;
        let problems = snapshot.problems.join("; ");
        match snapshot
            .rollouts
            .into_iter()
            .find(|status| status.name == name)
        {
            Some(status) => Ok(status),
            None if problems.is_empty() => bail!("the controller knows no rollout '{name}'"),
            // A file that was refused stays refused.
            None => Err(Hopeless(format!(
                "the controller knows no rollout '{name}': {problems}"
            ))
            .into()),
        }
    }

    /// What is on disk of the only rollout.
    ///
    /// # Errors
    /// When there is not exactly one, or its file cannot be read.
    pub fn state(&self) -> Result<StateFile> {
        let mut states = Store::open(&self.folder)?.states()?;
        match (states.pop(), states.len()) {
            (Some(state), 0) => Ok(state),
            (_, more) => bail!("there are {more} further state files"),
        }
    }

    /// Runs `serin` with `--standalone` on this folder and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn serin(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.programs.serin);
        command
            .args(arguments)
            .env("SERIN_STANDALONE", &self.folder)
            .env("NO_COLOR", "1")
            .kill_on_drop(true);
        command.output().await.context("failed to run serin")
    }

    /// The running controller.
    pub fn controller(&mut self) -> Option<&mut Process> {
        self.controller.as_mut()
    }

    /// Ends the controller as a crash would.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill_controller(&mut self) -> Result<()> {
        if let Some(controller) = self.controller.take() {
            controller.kill().await?;
        }
        Ok(())
    }

    /// Starts the controller again on the same folder, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time.
    pub async fn start_controller(&mut self) -> Result<()> {
        let (serin, endpoint) = (&self.programs.serin, self.prometheus.url());
        self.controller = Some(start_controller(
            &self.world,
            serin,
            &self.folder,
            &endpoint,
            &self.filter,
        )?);
        wait::until(START, "the controller to answer", async || {
            self.snapshot().await
        })
        .await?;
        Ok(())
    }

    /// Ends everything in order: the controller first, so that it does not report the others' ends.
    ///
    /// # Errors
    /// When an end cannot be waited for.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(controller) = self.controller.take() {
            controller.stop().await?;
        }
        self.prometheus.down().await
    }
}

fn start_controller(
    world: &World,
    serin: &Path,
    folder: &Path,
    prometheus: &str,
    filter: &Path,
) -> Result<Process> {
    let mut settings = GRID.to_vec();
    settings.extend(["--listen", "127.0.0.1:0"]);
    programs::controller(world, serin, folder, prometheus, filter, &settings)
}
