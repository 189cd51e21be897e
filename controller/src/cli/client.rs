//! Where the command line reads status from: the controller's endpoint, else the state files.

use std::time::Duration;

use anyhow::{Context, bail};

use super::Installation;
use crate::endpoint::Snapshot;
use crate::report::Status;
use crate::standalone::store::Store;
use crate::validate::RolloutName;

/// What is known, and a warning when it is not live.
pub(super) struct Known {
    pub(super) snapshot: Snapshot,
    pub(super) warning: Option<String>,
}

pub(super) fn open(installation: &Installation) -> anyhow::Result<Store> {
    Ok(Store::find(&installation.dir)?)
}

/// Asks the controller; when it does not answer, the files tell how things stood when it last wrote.
pub(super) async fn ask(store: &Store) -> anyhow::Result<Known> {
    let Some(controller) = store.controller()? else {
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
    match answer.await {
        Ok(snapshot) => Ok(Known {
            snapshot,
            warning: None,
        }),
        Err(_) => {
            let rollouts = store
                .states()?
                .into_iter()
                .filter_map(|file| file.status)
                .collect();
            let warning = format!(
                "the controller does not answer at {}: this is how things stood when it last wrote",
                controller.address
            );
            Ok(Known {
                snapshot: Snapshot {
                    rollouts,
                    ..Snapshot::default()
                },
                warning: Some(warning),
            })
        }
    }
}

/// Finds `name` or `namespace/name`.
pub(super) fn find<'a>(snapshot: &'a Snapshot, wanted: &str) -> anyhow::Result<&'a Status> {
    let index = position(snapshot.rollouts.iter().map(|status| &status.name), wanted)?;
    snapshot.rollouts.get(index).context("the rollout is gone")
}

/// Where the one rollout that is meant stands in a list.
pub(super) fn position<'a>(
    names: impl Iterator<Item = &'a RolloutName>,
    wanted: &str,
) -> anyhow::Result<usize> {
    let names: Vec<_> = names.collect();
    let meant = |name: &RolloutName| name.to_string() == wanted || name.name == wanted;
    let found: Vec<_> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| meant(name))
        .collect();
    let list = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    match found.as_slice() {
        [(index, _)] => Ok(*index),
        [] => bail!(
            "there is no rollout '{wanted}'; known: {}",
            list(names.iter().map(ToString::to_string).collect())
        ),
        several => {
            let several = several.iter().map(|(_, name)| name.to_string()).collect();
            bail!("'{wanted}' is ambiguous: say one of {}", list(several))
        }
    }
}

pub(super) fn select(snapshot: &Snapshot, wanted: Option<&str>) -> anyhow::Result<Vec<Status>> {
    match wanted {
        Some(name) => Ok(vec![
            find(snapshot, name).context("cannot show it")?.clone(),
        ]),
        None => Ok(snapshot.rollouts.clone()),
    }
}
