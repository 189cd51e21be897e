//! `serin promote|abort|pause|resume`: leaves a request for the controller and waits for its answer.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::{Installation, client};
use crate::report::Status;
use crate::rollout::{Action, Do, Phase};
use crate::standalone::store::ActionFile;

/// The controller reads actions with every tick, and a tick may wait for a slow Prometheus.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct ActionArgs {
    /// NAME or NAMESPACE/NAME
    name: String,
    #[command(flatten)]
    installation: Installation,
    /// Why, for the record
    #[arg(long, default_value = "")]
    why: String,
    /// Who asks
    #[arg(long, env = "USER", default_value = "unknown")]
    by: String,
}

#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    #[command(flatten)]
    action: ActionArgs,
    /// Not one step but everybody, at once: the soak and the handover follow
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetWeightArgs {
    #[command(flatten)]
    action: ActionArgs,
    /// Per cent of the users, 0 to less than 100
    #[arg(value_name = "PERCENT")]
    weight: f64,
}

pub(super) async fn promote(args: PromoteArgs) -> anyhow::Result<ExitCode> {
    let what = if args.full {
        Do::PromoteFull
    } else {
        Do::Promote
    };
    leave(args.action, what, None).await
}

pub(super) async fn set_weight(args: SetWeightArgs) -> anyhow::Result<ExitCode> {
    leave(args.action, Do::SetWeight, Some(args.weight)).await
}

pub(super) async fn ask(args: ActionArgs, what: Do) -> anyhow::Result<ExitCode> {
    leave(args, what, None).await
}

async fn leave(args: ActionArgs, what: Do, weight: Option<f64>) -> anyhow::Result<ExitCode> {
    let store = client::open(&args.installation)?;
    let known = client::ask(&store).await?;
    let status = client::find(&known.snapshot, &args.name)?;
    // Sorts by time, and two people in the same millisecond differ by process.
    let id = format!(
        "{}-{}",
        Timestamp::now().as_millisecond(),
        std::process::id()
    );
    let rollout = status.name.clone();
    let seen = status.release.as_ref().map(|release| release.stage);
    let began = status.release.as_ref().map(|release| release.started);
    let told = status
        .release
        .as_ref()
        .and_then(|release| release.records.last())
        .map_or(0, |record| record.number);
    store.leave_action(&ActionFile {
        rollout: rollout.clone(),
        action: Action {
            id: id.clone(),
            what,
            by: args.by,
            why: args.why,
            seen,
            weight,
        },
    })?;
    if let Some(warning) = known.warning {
        say!("recorded; the controller will take it when it runs ({warning})");
        return Ok(ExitCode::SUCCESS);
    }
    let answered = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let Ok(known) = client::ask(&store).await else {
                continue;
            };
            let Some(status) = known
                .snapshot
                .rollouts
                .into_iter()
                .find(|status| status.name == rollout)
            else {
                continue;
            };
            if status.consumed_actions.contains(&id) {
                return status;
            }
        }
    };
    let Ok(status) = tokio::time::timeout(PATIENCE, answered).await else {
        anyhow::bail!(
            "recorded, but the controller has not answered within {PATIENCE:?}: see its log"
        );
    };
    // A release that began again tells its story from the start.
    let same = status.release.as_ref().map(|it| it.started) == began;
    let records = status.release.iter().flat_map(|release| &release.records);
    let said: Vec<_> = records
        .filter(|record| !same || record.number > told)
        .map(|record| record.message.as_str())
        .collect();
    say!(
        "{rollout}: {:?}; {}",
        status.phase,
        if said.is_empty() {
            nothing(&status).to_owned()
        } else {
            said.join("; ")
        }
    );
    Ok(ExitCode::SUCCESS)
}

fn nothing(status: &Status) -> &'static str {
    match status.phase {
        Phase::Succeeded | Phase::RolledBack => "nothing to change: the release has ended",
        Phase::Pending => "nothing to change: no release is in progress",
        _ => "nothing to change: it is so already",
    }
}
