//! The demo's model servers: one process for each version, as three Deployments would be.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::models::{Training, Version, train};
use crate::programs::Serve;
use crate::tools;
use crate::world::World;

/// Three servers and what they serve.
#[derive(Debug)]
pub struct Fleet {
    /// The versions, oldest first.
    pub versions: [Version; 3],
    servers: Vec<(u32, Serve)>,
}

impl Fleet {
    /// Trains the versions and serves each by a process of its own.
    ///
    /// # Errors
    /// When training or a server fails.
    pub async fn start(world: &World) -> Result<Fleet> {
        // Training cannot be interrupted: its thread holds the folder, which is removed when the last holder is done
        // with it.
        let held = world.clone();
        let training = move || train(&held.folder("models")?, Training::default());
        let versions = tokio::task::spawn_blocking(training)
            .await
            .context("training ended in a panic")??;
        let programs = tokio::task::spawn_blocking(tools::programs)
            .await
            .context("the build ended in a panic")??;
        let mut servers = Vec::new();
        for version in &versions {
            let name = cluster(version.number);
            let serve = Serve::start(world, &name, &programs.serve, &version.repository).await?;
            servers.push((version.number, serve));
        }
        Ok(Fleet { versions, servers })
    }

    /// Envoy's clusters: name and port.
    #[must_use]
    pub fn clusters(&self) -> BTreeMap<String, u16> {
        let ports = self.ports().into_iter();
        ports
            .map(|(number, port)| (cluster(number), port))
            .collect()
    }

    /// The ports of the versions.
    #[must_use]
    pub fn ports(&self) -> BTreeMap<u32, u16> {
        let servers = self.servers.iter();
        let port = |(number, serve): &(u32, Serve)| (*number, serve.address.port());
        servers.map(port).collect()
    }
}

/// The cluster that serves a version, and the value of the route header that leads there.
#[must_use]
pub fn cluster(version: u32) -> String {
    format!("fraud-v{version}")
}
