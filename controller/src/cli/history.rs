//! `serin history`: what happened to a rollout, and to its releases before.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use super::get::remark;
use super::installation::{Installation, InstallationArgs};
use super::table::plain;
use super::view::weight;
use super::wanted::Wanted;
use crate::report::Status;
use crate::rollout::{Outcome, PastRelease, Record};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// NAME or NAMESPACE/NAME
    name: Wanted,
    #[command(flatten)]
    installation: InstallationArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
    Yaml,
}

/// What `-o json` and `-o yaml` give.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Story<'a> {
    name: String,
    records: &'a [Record],
    history: &'a [PastRelease],
}

pub(super) async fn history(args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let installation = Installation::open(&args.installation).await?;
    let (seen, mut known) = installation.look_at(&args.name).await?;
    let status = &seen.status;
    let story = Story {
        name: status.name.to_string(),
        records: status.release.as_ref().map_or(&[], |it| &it.records),
        history: &status.history,
    };
    match args.output {
        Form::Table => lines(status).iter().for_each(|line| say!("{line}")),
        Form::Json => say!("{}", serde_json::to_string_pretty(&story)?),
        Form::Yaml => say!("{}", serde_saphyr::to_string(&story)?.trim_end()),
    }
    known.rollouts.push(seen);
    remark(&known);
    Ok(ExitCode::SUCCESS)
}

/// To the second, as people compare it with other clocks.
fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    match &status.release {
        None => lines.push(format!("{}: {}", status.name, status.message)),
        Some(release) => {
            let new: Vec<_> = release
                .arms
                .iter()
                .map(|arm| arm.variant.version.as_str())
                .collect();
            lines.push(format!(
                "{}: version {} beside version {}, begun {}",
                status.name,
                new.join(", "),
                release.stable.variant.version,
                time(release.started)
            ));
            let rows = release.records.iter().map(|record| {
                vec![
                    time(record.at),
                    format!("{:?}", record.phase),
                    weight(Some(record.weight)),
                    record.message.clone(),
                ]
            });
            let head = ["TIME", "PHASE", "WEIGHT", "WHAT HAPPENED"];
            lines.push(plain(head.into_iter(), rows));
        }
    }
    if !status.history.is_empty() {
        lines.push("\nreleases before".to_owned());
        let rows = status.history.iter().map(|past| {
            vec![
                time(past.started),
                time(past.ended),
                past.version.clone(),
                past.stable.clone(),
                outcome(past.outcome).to_owned(),
                past.message.clone(),
            ]
        });
        let head = [
            "BEGUN",
            "ENDED",
            "VERSION",
            "BESIDE",
            "OUTCOME",
            "LAST WORD",
        ];
        lines.push(plain(head.into_iter(), rows));
    }
    lines
}

fn outcome(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Succeeded) => "Succeeded",
        Some(Outcome::RolledBack) => "RolledBack",
        Some(Outcome::Concluded) => "Concluded",
        None => "Replaced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::started;
    use crate::report::{View, report};

    #[test]
    fn the_story_is_told_from_the_start_and_the_releases_before_it_below() {
        let (plan, mut state) = started();
        state.history = vec![PastRelease {
            version: "6".to_owned(),
            stable: "5".to_owned(),
            salt: "x".to_owned(),
            outcome: None,
            started: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            message: "another release took its place".to_owned(),
        }];
        let text = lines(&report(Some(&plan), &state, &View::default())).join("\n");
        assert!(
            text.starts_with("ml/fraud: version 8 beside version 7, begun 1970-01-01T00:00:00Z"),
            "{text}"
        );
        let told = text.find("version 8 begins beside version 7").unwrap();
        assert!(told < text.find("Replaced").unwrap(), "{text}");
    }
}
