//! `serin watch`: a live tree in a terminal, lines of change elsewhere.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use console::Term;

use super::view::Palette;
use super::{Installation, client, tree};

const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// NAME or NAMESPACE/NAME; all rollouts when not given
    name: Option<String>,
    #[command(flatten)]
    installation: Installation,
}

pub(super) async fn watch(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let store = client::open(&args.installation)?;
    let terminal = Term::stdout();
    let mut drawn = 0;
    let mut last = Vec::new();
    loop {
        let known = client::ask(&store).await?;
        let rollouts = client::select(&known.snapshot, args.name.as_deref())?;
        let mut lines: Vec<String> = rollouts
            .iter()
            .flat_map(|status| tree(status, Palette::detect()))
            .collect();
        lines.extend(known.snapshot.problems.iter().cloned().chain(known.warning));
        if lines.is_empty() {
            lines.push("no rollouts".to_owned());
        }
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
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}
