//! `serin status`: waits for the end of a release, and says by its exit code how it ended.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::get::{file_problem, waits_for_others};
use super::installation::{Installation, InstallationArgs, Seen};
use super::invocation;
use super::view::weight;
use super::wanted::Wanted;
use crate::quantity::Span;
use crate::rollout::Phase;

const POLL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// NAME or NAMESPACE/NAME
    name: Wanted,
    #[command(flatten)]
    installation: InstallationArgs,
    /// How long to wait, such as 60s; 0s only looks [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    // A span in a rollout file cannot be nothing.
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    let span: Result<Span, _> = text.parse();
    span.map(|Span(time)| time)
        .map_err(|error| error.to_string())
}

/// How a release stands, for those who wait for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Badly,
    NotYet,
}

fn end(seen: &Seen) -> End {
    // What is known is about an edit before: that it ended well says nothing about this one.
    if !seen.current {
        return End::NotYet;
    }
    if waits_for_others(&seen.status) {
        return End::NotYet;
    }
    if file_problem(&seen.status).is_some() {
        return End::Badly;
    }
    match seen.status.phase {
        Phase::Succeeded => End::Well,
        Phase::RolledBack => End::Badly,
        Phase::Pending | Phase::Progressing | Phase::Paused | Phase::Soaking => End::NotYet,
    }
}

/// What a person reads of it, in one line.
fn line(seen: &Seen) -> String {
    let status = &seen.status;
    let mut words = vec![format!("{}: {:?}", status.name, status.phase)];
    if let Some(release) = &status.release {
        if let Some((step, of)) = release.step {
            words.push(format!("step {step} of {of}"));
        }
        words.push(weight(Some(release.canary().weight)));
    }
    let message = match seen.staleness() {
        Some(stale) => stale.to_owned(),
        None => file_problem(status).unwrap_or_else(|| status.message.clone()),
    };
    format!("{}; {message}", words.join(", "))
}

/// Nothing else of the line changes with every cell.
fn key(seen: &Seen) -> (Phase, Option<(usize, usize)>, bool, usize) {
    let release = seen.status.release.as_ref();
    let told = release.map_or(0, |release| release.records.len());
    let step = release.and_then(|release| release.step);
    (seen.status.phase, step, seen.current, told)
}

pub(super) async fn status(args: StatusArgs) -> ExitCode {
    let timeout = args.timeout;
    let waited = wait(args);
    let waited = match timeout {
        Some(timeout) if !timeout.is_zero() => match tokio::time::timeout(timeout, waited).await {
            Ok(waited) => waited,
            Err(_) => {
                eprintln!(
                    "{}: it has not ended within {timeout:?}",
                    invocation::name()
                );
                return ExitCode::from(2);
            }
        },
        _ => waited.await,
    };
    match waited {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::Badly) => ExitCode::FAILURE,
        Ok(End::NotYet) => ExitCode::from(2),
        Err(error) => {
            eprintln!("{}: {error:#}", invocation::name());
            ExitCode::from(2)
        }
    }
}

async fn wait(args: StatusArgs) -> anyhow::Result<End> {
    let installation = Installation::open(&args.installation).await?;
    let once = args.timeout.is_some_and(|timeout| timeout.is_zero());
    let (mut seen, _) = installation.look_at(&args.name).await?;
    let mut said = None;
    let mut trouble = None;
    loop {
        if said != Some(key(&seen)) {
            say!("{}", line(&seen));
            said = Some(key(&seen));
        }
        let end = end(&seen);
        if once || end != End::NotYet {
            return Ok(end);
        }
        tokio::time::sleep(POLL).await;
        match installation.look_for_answer(&seen).await {
            Ok(found) => {
                seen = found;
                trouble = None;
            }
            // Whoever waits for hours outlives a restart of the API server.
            Err(error) => {
                let error = format!("{error:#}");
                if trouble.as_ref() != Some(&error) {
                    eprintln!("{}: {error}; still trying", invocation::name());
                    trouble = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::started;
    use crate::report::{View, report};
    use crate::rollout::Outcome;

    fn seen(outcome: Option<Outcome>, problems: &[&str], current: bool) -> Seen {
        let (plan, mut state) = started();
        state.release.as_mut().unwrap().outcome = outcome;
        let view = View {
            file_problems: problems.iter().map(|&it| it.to_owned()).collect(),
            ..View::default()
        };
        Seen {
            status: report(Some(&plan), &state, &view),
            made: None,
            current,
            pending: None,
            version: None,
        }
    }

    #[test]
    fn the_end_of_a_release_is_told_from_a_release_that_goes_on() {
        assert_eq!(end(&seen(Some(Outcome::Succeeded), &[], true)), End::Well);
        assert_eq!(end(&seen(Some(Outcome::Concluded), &[], true)), End::Well);
        assert_eq!(end(&seen(Some(Outcome::RolledBack), &[], true)), End::Badly);
        assert_eq!(end(&seen(None, &[], true)), End::NotYet);
    }

    #[test]
    fn what_was_true_before_an_edit_is_no_end() {
        assert_eq!(
            end(&seen(Some(Outcome::Succeeded), &[], false)),
            End::NotYet
        );
    }

    #[test]
    fn a_release_that_waits_for_others_has_not_ended_yet() {
        let mut waiting = seen(Some(Outcome::Succeeded), &["waiting: 3 releases"], true);
        waiting.status.conditions[0].reason = Some("Waiting".to_owned());
        assert_eq!(end(&waiting), End::NotYet);
        assert!(line(&waiting).ends_with("waiting: 3 releases"));
    }

    #[test]
    fn an_edit_that_is_not_in_force_will_not_end_well_by_waiting() {
        let refused = seen(Some(Outcome::Succeeded), &["spec.x: is wrong"], true);
        assert_eq!(end(&refused), End::Badly);
        assert!(line(&refused).ends_with("spec.x: is wrong"));
    }
}
