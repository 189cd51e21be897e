//! A standalone installation, seen from the command line: the controller's endpoint, else its state files.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Known, Seen};
use crate::cli::wanted::Wanted;
use crate::endpoint::Snapshot;
use crate::report::Status;
use crate::rollout::{Action, RolloutState};
use crate::standalone::store::{ActionFile, Store};
use crate::validate::RolloutName;

/// A folder on which a controller has run.
#[derive(Debug)]
pub(in crate::cli) struct Folder {
    store: Store,
    namespace: Option<String>,
}

impl Folder {
    pub(in crate::cli) fn open(dir: &Path, namespace: Option<String>) -> anyhow::Result<Self> {
        let store = Store::find(dir)?;
        Ok(Self { store, namespace })
    }

    pub(in crate::cli) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) async fn look(&self, wanted: Option<&Wanted>) -> anyhow::Result<Known> {
        let (snapshot, warning) = self.ask().await?;
        let named = wanted.is_some_and(|wanted| wanted.namespace.is_some());
        let within = |status: &Status| {
            let namespace = self.namespace.as_ref();
            named || namespace.is_none_or(|it| *it == status.name.namespace)
        };
        let mut rollouts: Vec<_> = snapshot.rollouts.into_iter().filter(within).collect();
        if let Some(wanted) = wanted {
            let index = wanted.position(rollouts.iter().map(|status| &status.name))?;
            rollouts = vec![rollouts.swap_remove(index)];
        }
        Ok(Known {
            rollouts: rollouts.into_iter().map(seen).collect(),
            problems: snapshot.problems,
            warning,
        })
    }

    pub(super) async fn look_at(&self, name: &RolloutName) -> anyhow::Result<Seen> {
        let (snapshot, _) = self.ask().await?;
        let mut rollouts = snapshot.rollouts.into_iter();
        let status = rollouts.find(|status| status.name == *name);
        status.map(seen).context("the rollout is gone")
    }

    /// Leaves the action; says why it will not be answered now.
    pub(super) async fn leave(
        &self,
        rollout: &RolloutName,
        action: &Action,
    ) -> anyhow::Result<Option<String>> {
        self.store.leave_action(&ActionFile {
            rollout: rollout.clone(),
            action: action.clone(),
        })?;
        Ok(self.ask().await?.1)
    }

    /// The states of all rollouts.
    pub(in crate::cli) fn states(&self) -> anyhow::Result<Vec<RolloutState>> {
        let files = self.store.states()?.into_iter();
        let within = |state: &RolloutState| {
            let namespace = self.namespace.as_ref();
            namespace.is_none_or(|it| *it == state.name.namespace)
        };
        Ok(files.map(|file| file.state).filter(within).collect())
    }

    /// Asks the controller; when it does not answer, the files tell how things stood when it last wrote.
    async fn ask(&self) -> anyhow::Result<(Snapshot, Option<String>)> {
        let Some(controller) = self.store.controller()? else {
            bail!(
                "no controller has run on this folder yet: start one with 'serin run --standalone DIR'"
            );
        };
        let answer = async {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_secs(3))
                .build()?;
            client
                .get(format!("{}/v1/rollouts", controller.address))
                .send()
                .await?
                .error_for_status()?
                .json()
                .await
        };
        if let Ok(snapshot) = answer.await {
            return Ok((snapshot, None));
        }
        let files = self.store.states()?.into_iter();
        let rollouts = files.filter_map(|file| file.status).collect();
        let warning = format!(
            "the controller does not answer at {}: this is how things stood when it last wrote",
            controller.address
        );
        let snapshot = Snapshot {
            rollouts,
            ..Snapshot::default()
        };
        Ok((snapshot, Some(warning)))
    }
}

fn seen(status: Status) -> Seen {
    let release = status.release.as_ref().map(|release| release.started);
    let past = status.history.last().map(|past| past.started);
    Seen {
        made: past.or(release),
        status,
        current: true,
        pending: None,
        version: None,
    }
}
