//! `serin promote|abort|pause|resume` and their like: leaves a request for the controller and waits for its answer.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::installation::{Installation, InstallationArgs};
use super::wanted::Wanted;
use crate::report::Status;
use crate::rollout::{Action, Do, Phase};

/// The controller reads actions with every tick, and a tick may wait for a slow Prometheus.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct ActionArgs {
    /// NAME or NAMESPACE/NAME
    name: Wanted,
    #[command(flatten)]
    installation: InstallationArgs,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    /// Who asks, for the record [default: the kubeconfig's user; in a folder $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Take the place of what somebody else asked for and the controller has not answered yet
    #[arg(long)]
    force: bool,
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
    #[arg(value_name = "PERCENT", value_parser = percent)]
    weight: f64,
}

/// As it is typed.
pub(super) fn word(what: Do) -> &'static str {
    match what {
        Do::Promote => "promote",
        Do::PromoteFull => "promote --full",
        Do::Skip => "skip",
        Do::SetWeight => "set-weight",
        Do::Retry => "retry",
        Do::Abort => "abort",
        Do::Pause => "pause",
        Do::Resume => "resume",
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let weight = number.parse().ok().filter(|it| (0.0..100.0).contains(it));
    weight.ok_or_else(|| {
        "write a weight from 0 to less than 100 per cent, such as 25 (promote --full gives it everybody)".to_owned()
    })
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
    let installation = Installation::open(&args.installation).await?;
    let (seen, _) = installation.look_at(&args.name).await?;
    let told = Told::of(&seen.status);
    let action = Action {
        id: id(),
        what,
        by: who(args.by, &installation).await,
        why: args.why,
        seen: seen.status.release.as_ref().map(|release| release.stage),
        weight,
    };
    let rollout = &seen.status.name;
    if let Some(warning) = installation.leave(&seen, &action, args.force).await? {
        say!("{rollout}: recorded; the controller will take it when it runs ({warning})");
        return Ok(ExitCode::SUCCESS);
    }
    let answered = async {
        loop {
            tokio::time::sleep(POLL).await;
            // One look that fails says nothing about the next.
            if let Ok(seen) = installation.look_for_answer(&seen).await
                && seen.status.consumed_actions.contains(&action.id)
            {
                return seen.status;
            }
        }
    };
    let Ok(status) = tokio::time::timeout(PATIENCE, answered).await else {
        anyhow::bail!(
            "{rollout}: recorded, and done as soon as the controller reads it, but it has not answered within {PATIENCE:?}; {}",
            installation.where_its_log_is()
        );
    };
    let said = told.news(&status);
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

/// Sorts by time, and two people in the same millisecond differ by process.
fn id() -> String {
    format!(
        "{}-{}",
        Timestamp::now().as_millisecond(),
        std::process::id()
    )
}

async fn who(said: Option<String>, installation: &Installation) -> String {
    if let Some(name) = said {
        return name;
    }
    match installation.user().await {
        Some(name) => name,
        None => std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
    }
}

/// How far the story was told before the request.
struct Told {
    release: Option<Timestamp>,
    number: u64,
}

impl Told {
    fn of(status: &Status) -> Self {
        let release = status.release.as_ref();
        let last = release.and_then(|release| release.records.last());
        Self {
            release: release.map(|release| release.started),
            number: last.map_or(0, |record| record.number),
        }
    }

    /// What has happened since. A release that began again tells its story from the start.
    fn news<'a>(&self, status: &'a Status) -> Vec<&'a str> {
        let release = status.release.as_ref();
        let same = release.map(|it| it.started) == self.release;
        let records = release.into_iter().flat_map(|release| &release.records);
        records
            .filter(|record| !same || record.number > self.number)
            .map(|record| record.message.as_str())
            .collect()
    }
}

fn nothing(status: &Status) -> &'static str {
    match status.phase {
        Phase::Succeeded | Phase::RolledBack => "nothing to change: the release has ended",
        Phase::Pending => "nothing to change: no release is in progress",
        _ => "nothing to change: it is so already",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_less_than_everybody() {
        assert_eq!(percent("25"), Ok(25.0));
        assert_eq!(percent("0.5 %"), Ok(0.5));
        for wrong in ["100", "-1", "half", "NaN", ""] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
