//! `serin list`: every rollout in one line, as `kubectl get modelrollouts -A` shows them.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::get::{none, remark};
use super::installation::{Installation, InstallationArgs};
use super::table::{Column, table};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    installation: InstallationArgs,
}

pub(super) async fn list(mut args: ListArgs) -> anyhow::Result<ExitCode> {
    args.installation.all_namespaces = args.installation.namespace.is_none();
    let installation = Installation::open(&args.installation).await?;
    let known = installation.look(None).await?;
    let columns = [
        Column::Rollout,
        Column::Phase,
        Column::Step,
        Column::Weight,
        Column::Observed,
        Column::Verdict,
        Column::Age(Timestamp::now()),
    ];
    if known.rollouts.is_empty() {
        say!("{}", none(&installation));
    } else {
        say!("{}", table(&columns, &known.rollouts));
    }
    remark(&known);
    Ok(ExitCode::SUCCESS)
}
