//! `serin get`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::installation::{Installation, InstallationArgs, Known};
use super::table::{self, Column};
use super::view::Palette;
use super::wanted::Wanted;
use super::{invocation, tree};
use crate::cluster::conditions;
use crate::report::{Condition, Status};

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// NAME or NAMESPACE/NAME; all rollouts when not given
    name: Option<Wanted>,
    #[command(flatten)]
    installation: InstallationArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    /// The tree of `watch`
    Wide,
    Json,
    Yaml,
    /// NAMESPACE/NAME, as every command takes it
    Name,
}

const COLUMNS: [Column; 8] = [
    Column::Rollout,
    Column::Phase,
    Column::Step,
    Column::Weight,
    Column::Observed,
    Column::Verdict,
    Column::Live,
    Column::Message,
];

pub(super) async fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let installation = Installation::open(&args.installation).await?;
    let known = installation.look(args.name.as_ref()).await?;
    let statuses = known.statuses();
    match args.output {
        Form::Json => say!("{}", serde_json::to_string_pretty(&statuses)?),
        Form::Yaml => say!("{}", serde_saphyr::to_string(&statuses)?.trim_end()),
        Form::Wide => statuses
            .iter()
            .for_each(|status| say!("{}", tree(status, Palette::detect()).join("\n"))),
        Form::Name => statuses.iter().for_each(|status| say!("{}", status.name)),
        Form::Table if statuses.is_empty() => say!("{}", none(&installation)),
        Form::Table => say!("{}", table::table(&COLUMNS, &known.rollouts)),
    }
    remark(&known);
    Ok(ExitCode::SUCCESS)
}

/// That there are no rollouts, and where one looked.
pub(super) fn none(installation: &Installation) -> String {
    match installation.namespace() {
        Some(namespace) => {
            format!("no rollouts in namespace {namespace} (-A looks in all of them)")
        }
        None => "no rollouts".to_owned(),
    }
}

/// Says on stderr what stands beside the rollouts.
pub(super) fn remark(known: &Known) {
    let mistakes = known.rollouts.iter().filter_map(|seen| {
        let problem = file_problem(&seen.status)?;
        Some(format!("{}: {problem}", seen.status.name))
    });
    for problem in mistakes.chain(known.remarks()) {
        eprintln!("{}: {problem}", invocation::name());
    }
}

fn ready(status: &Status) -> Option<&Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.kind == conditions::READY)
}

pub(super) fn file_problem(status: &Status) -> Option<String> {
    let ready = ready(status)?;
    (ready.status == Some(false)).then(|| ready.message.clone())
}

/// Nothing is wrong with it: it is in force when another release has ended.
pub(super) fn waits_for_others(status: &Status) -> bool {
    let reason = ready(status).and_then(|ready| ready.reason.as_deref());
    reason == Some(conditions::reasons::WAITING)
}
