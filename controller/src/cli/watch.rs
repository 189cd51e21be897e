//! `serin watch`: a live tree in a terminal, lines of change elsewhere.

use std::future::pending;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use console::Term;

use super::get::none;
use super::installation::{Installation, InstallationArgs};
use super::tree;
use super::view::Palette;
use super::wanted::Wanted;
use crate::quantity::Span;

/// How old live numbers may be.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// NAME or NAMESPACE/NAME; all rollouts when not given
    name: Option<Wanted>,
    #[command(flatten)]
    installation: InstallationArgs,
    /// End after so long, such as 30s
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
}

pub(super) async fn watch(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let over = async {
        match args.timeout {
            Some(Span(timeout)) => tokio::time::sleep(timeout).await,
            None => pending().await,
        }
    };
    tokio::select! {
        watched = show(&args) => watched?,
        () = over => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &WatchArgs) -> anyhow::Result<()> {
    let installation = Installation::open(&args.installation).await?;
    let mut follower = installation.follow(args.name.as_ref()).await?;
    let terminal = Term::stdout();
    let mut drawn = 0;
    let mut last = Vec::new();
    loop {
        let known = follower.look().await?;
        let statuses = known.rollouts.iter().map(|seen| &seen.status);
        let mut lines: Vec<String> = statuses
            .flat_map(|status| tree(status, Palette::detect()))
            .collect();
        if lines.is_empty() {
            lines.push(none(&installation));
        }
        lines.extend(known.remarks());
        if terminal.is_term() {
            let width = usize::from(terminal.size().1);
            terminal.clear_last_lines(drawn)?;
            // A line that wraps would not be cleared whole.
            lines.iter().try_for_each(|line| {
                terminal.write_line(&console::truncate_str(line, width, "…"))
            })?;
            drawn = lines.len();
        } else if lines != last {
            lines.iter().for_each(|line| say!("{line}"));
            last = lines;
        }
        follower.changed(PERIOD).await;
    }
}
