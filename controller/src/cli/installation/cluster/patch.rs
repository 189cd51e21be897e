//! Asking for something: an annotation of the resource, so that the cluster's own rights and records apply.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Cluster, PATIENCE};
use crate::cli::action::word;
use crate::cli::installation::Seen;
use crate::cluster::names;
use crate::rollout::Action;

/// How the API server's records call us.
const MANAGER: &str = "kubectl-serin";
/// How long somebody else's request may take to be answered; the controller does it within a tick.
const OTHERS: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);
/// The controller writes status at any time, and each of its writes is a conflict of no consequence.
const ATTEMPTS: usize = 10;

impl Cluster {
    /// Writes the annotation, based on what was seen: nobody's request is overwritten before it was answered.
    pub(in crate::cli::installation) async fn leave(
        &self,
        seen: &Seen,
        action: &Action,
        force: bool,
    ) -> anyhow::Result<()> {
        let name = &seen.status.name;
        let api = self.rollouts(Some(&name.namespace));
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let mut seen = seen.clone();
        for _ in 0..ATTEMPTS {
            if !force {
                seen = self.answered(seen).await?;
            }
            let patch = Patch::Merge(patch(action, seen.version.as_deref())?);
            let written = api.patch(&name.name, &parameters, &patch);
            match tokio::time::timeout(PATIENCE, written).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                    seen = self.read(name).await?;
                    if let Some(other) = &seen.pending {
                        eprintln!(
                            "serin: {} asked to {} at the same time, and comes first",
                            other.by,
                            word(other.what)
                        );
                    }
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    bail!("{name} was deleted meanwhile")
                }
                Ok(Err(error)) => {
                    return Err(self.server.plain(&error)).context("nothing was changed");
                }
                Err(_) => bail!(
                    "the API server has not answered within {PATIENCE:?}: look with 'get {name}' whether it was done"
                ),
            }
        }
        bail!(
            "nothing was changed: {name} was changed by others each time that it was tried; try again"
        )
    }

    /// Waits until nobody else's request waits for the controller.
    async fn answered(&self, mut seen: Seen) -> anyhow::Result<Seen> {
        let end = Instant::now() + OTHERS;
        while let Some(other) = &seen.pending {
            if Instant::now() >= end {
                bail!(
                    "nothing was changed: {} asked to {} before, and the controller has not answered that within \
                     {OTHERS:?}; {}; --force takes its place",
                    other.by,
                    word(other.what),
                    self.where_its_log_is()
                );
            }
            tokio::time::sleep(POLL).await;
            let name = seen.status.name.clone();
            seen = self.read(&name).await?;
        }
        Ok(seen)
    }
}

fn patch(action: &Action, version: Option<&str>) -> serde_json::Result<Value> {
    let text = serde_json::to_string(action)?;
    Ok(json!({"metadata": {"resourceVersion": version, "annotations": {names::ACTION: text}}}))
}
