//! `serin get`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};

use super::view::{Palette, weight};
use super::{Installation, client, tree};
use crate::report::{ArmStatus, Status};

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// NAME or NAMESPACE/NAME; all rollouts when not given
    name: Option<String>,
    #[command(flatten)]
    installation: Installation,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Wide,
    Json,
}

pub(super) async fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let known = client::ask(&client::open(&args.installation)?).await?;
    let rollouts = client::select(&known.snapshot, args.name.as_deref())?;
    match args.output {
        Form::Json => say!("{}", serde_json::to_string_pretty(&rollouts)?),
        Form::Wide => rollouts
            .iter()
            .for_each(|status| say!("{}", tree(status, Palette::detect()).join("\n"))),
        Form::Table if rollouts.is_empty() => say!("no rollouts"),
        Form::Table => say!("{}", table(&rollouts)),
    }
    for problem in rollouts
        .iter()
        .filter_map(file_problem)
        .chain(known.snapshot.problems)
        .chain(known.warning)
    {
        eprintln!("serin: {problem}");
    }
    Ok(ExitCode::SUCCESS)
}

fn file_problem(status: &Status) -> Option<String> {
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.kind == "Ready")?;
    (ready.status == Some(false)).then(|| ready.message.clone())
}

/// Of several versions one after the other.
fn weights(arms: &[ArmStatus], of: impl Fn(&ArmStatus) -> Option<f64>) -> String {
    let each: Vec<_> = arms.iter().map(|arm| weight(of(arm))).collect();
    each.join(" + ")
}

fn table(rollouts: &[Status]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "ROLLOUT", "PHASE", "STEP", "WEIGHT", "OBSERVED", "VERDICT", "LIVE", "MESSAGE",
    ]);
    for status in rollouts {
        let release = status.release.as_ref();
        let none = || "-".to_owned();
        table.add_row([
            status.name.to_string(),
            format!("{:?}", status.phase),
            release
                .and_then(|r| r.step)
                .map_or_else(none, |(step, of)| format!("{step}/{of}")),
            release.map_or_else(none, |r| weights(&r.arms, |arm| Some(arm.weight))),
            release.map_or_else(none, |r| weights(&r.arms, |arm| arm.observed_weight)),
            release.map_or_else(none, |r| format!("{:?}", r.verdict)),
            status.live.version.clone(),
            status.message.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
