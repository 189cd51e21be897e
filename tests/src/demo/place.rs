//! Where the demo takes place: in a folder, or in a cluster. The story is the same.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use hyper::header::HeaderValue;
use serin_controller::report::Status;

use super::fleet::cluster;
use super::population::HOST;
use super::story::FILE;
use crate::cluster::mesh::{self, GATEWAYS, MODELS, Mesh};
use crate::installation::Installation;

/// Name of the controller in a cluster.
pub const CONTROLLER: &str = "serin-0";

/// An installation in which versions of the model are released.
pub trait Place: 'static {
    /// The host that the requests ask.
    fn host() -> HeaderValue;

    /// Where the requests go.
    fn entrance(&self) -> SocketAddr;

    /// The route of a version in the rollout.
    fn route(version: u32) -> String;

    /// Further lines of the rollout's spec.
    fn more() -> String;

    /// Puts the rollout in force.
    ///
    /// # Errors
    /// When it cannot be written.
    fn release(&mut self, rollout: &str) -> impl Future<Output = Result<()>>;

    /// How the rollout stands.
    ///
    /// # Errors
    /// When the controller does not say.
    fn status(&self) -> impl Future<Output = Result<Status>>;

    /// Whether everything still runs.
    ///
    /// # Errors
    /// With the end of the log of what does not.
    fn alive(&mut self) -> Result<()>;

    /// The end of the controller's log.
    fn log(&mut self) -> String;

    /// Ends everything in order.
    ///
    /// # Errors
    /// When an end cannot be waited for.
    fn end(self) -> impl Future<Output = Result<()>>;
}

impl Place for Installation {
    fn host() -> HeaderValue {
        HeaderValue::from_static(HOST)
    }

    fn entrance(&self) -> SocketAddr {
        self.envoy.address()
    }

    fn route(version: u32) -> String {
        format!("{{cluster: {}}}", cluster(version))
    }

    fn more() -> String {
        String::new()
    }

    async fn release(&mut self, rollout: &str) -> Result<()> {
        self.write_rollout(FILE, rollout)
    }

    async fn status(&self) -> Result<Status> {
        Installation::status(self, "ml", "fraud").await
    }

    fn alive(&mut self) -> Result<()> {
        self.envoy.process().alive()?;
        self.controller()
            .context("the controller was not started")?
            .alive()
    }

    fn log(&mut self) -> String {
        self.controller()
            .map(|controller| controller.log_tail())
            .unwrap_or_default()
    }

    async fn end(self) -> Result<()> {
        self.stop().await
    }
}

impl Place for Mesh {
    fn host() -> HeaderValue {
        HeaderValue::from_static(mesh::HOST)
    }

    fn entrance(&self) -> SocketAddr {
        let [gateway, _] = self.entrances;
        gateway
    }

    fn route(version: u32) -> String {
        format!("{{subset: v{version}}}")
    }

    fn more() -> String {
        format!(
            "  scope: [{MODELS}, {GATEWAYS}]\n  route: {{gateways: [{GATEWAYS}/ingress, mesh]}}\n"
        )
    }

    async fn release(&mut self, rollout: &str) -> Result<()> {
        self.apply(rollout).await
    }

    async fn status(&self) -> Result<Status> {
        self.report(CONTROLLER, "fraud").await
    }

    fn alive(&mut self) -> Result<()> {
        self.controller(CONTROLLER)
            .context("the controller was not started")?
            .alive()
    }

    fn log(&mut self) -> String {
        self.controller(CONTROLLER)
            .map(|controller| controller.log_tail())
            .unwrap_or_default()
    }

    async fn end(self) -> Result<()> {
        self.stop().await
    }
}
