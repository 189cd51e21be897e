//! What a person types. Exit codes: 0 done, 1 failed or refused, 2 wrong usage (clap's); `status` has its own.
//!
//! The same program is kubectl's plugin, under the name `kubectl-serin`, and completes for it under
//! `kubectl_complete-serin`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module talks to the terminal"
)]

/// `println!` that does not mind a reader who has seen enough, such as `head`.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}

mod access;
mod action;
mod completion;
mod crd;
mod explain;
mod files;
mod get;
mod history;
mod installation;
mod invocation;
mod lint;
mod list;
mod operate;
mod replay;
mod run;
mod simulate;
mod status;
mod table;
mod view;
mod wanted;
mod watch;

pub use view::{Palette, short, sparkline, tree};

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::rollout::Do;

/// Canary releases of ML models inside the mesh.
#[derive(Debug, Parser)]
#[command(name = "serin", version, about, long_about = None, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No colours; the environment variable NO_COLOR says the same
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Run(run::RunArgs),
    /// Show rollouts
    Get(get::GetArgs),
    /// Show rollouts live, until Ctrl-C
    Watch(watch::WatchArgs),
    /// Show all rollouts, one line each
    ///
    /// Of all namespaces, unless -n names one. AGE is the resource's, as kubectl shows it; in a folder it counts from the
    /// first release that is remembered.
    List(list::ListArgs),
    /// Wait for the end of a release; the exit code says how it ended
    ///
    /// Each change is told. Exit codes: 0 the new version is live, or the test is concluded; 1 it was rolled back, or the
    /// rollout is not in force because of a mistake in it; 2 it still goes on when the time is over, or nobody knows (no
    /// such rollout, no cluster). In a cluster an end counts only once the controller has read the latest edit.
    Status(status::StatusArgs),
    /// Show what happened to a rollout, and its releases before
    History(history::HistoryArgs),
    /// Say which variant a request gets, and why
    Explain(explain::ExplainArgs),
    /// Check rollout files
    Lint(lint::LintArgs),
    /// Try a rollout out before it is shipped: how long it takes, what it finds, what it lets through
    Simulate(simulate::SimulateArgs),
    /// Say what a rollout would have decided on counts that were recorded, when, and why
    Replay(replay::ReplayArgs),
    /// Print the resource definition for the API server
    Crd,
    /// Print the roles that the controller needs in a cluster, and those for people
    Rbac(crd::RbacArgs),
    /// Approve a waiting step, or go one step on without its evidence
    Promote(action::PromoteArgs),
    /// End the waiting of the present stage (pauses, approval, soak); the evidence is still wanted
    Skip(action::ActionArgs),
    /// Give the new version another weight, and stand still there until resumed
    SetWeight(action::SetWeightArgs),
    /// Begin a release again that was rolled back
    Retry(action::ActionArgs),
    /// Send everybody back to the live version
    Abort(action::ActionArgs),
    /// Hold the weight; a failure still rolls back
    Pause(action::ActionArgs),
    /// Go on after a pause
    Resume(action::ActionArgs),
    /// Print what makes a shell complete commands
    ///
    /// Source it: 'source <(serin completion bash)'. For 'kubectl serin' kubectl itself completes, by a program
    /// 'kubectl_complete-serin' on the PATH: link it to this program, as 'kubectl-serin' is.
    Completion(completion::CompletionArgs),
}

impl Cli {
    /// What is logged where nothing else is said. A command says itself what is wrong, in words for people, and would say
    /// it twice beside the log of the client of the API server.
    #[must_use]
    pub fn log(&self) -> &'static str {
        match self.command {
            Command::Run(_) => "info",
            _ => "warn,kube=off,kube_client=off,kube_runtime=off,kube_core=off",
        }
    }
}

/// Reads what was typed; ends the program where that is no command. None: kubectl asked how a command may go on, and has
/// its answer.
#[must_use]
pub fn parse() -> Option<Cli> {
    if let Some(words) = invocation::asked_by_kubectl() {
        completion::answer_kubectl(&words);
        return None;
    }
    // Else usage lines would name the plugin as nobody types it.
    let command = Cli::command().bin_name(invocation::name());
    Some(Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()))
}

/// Does what was typed; the message of a failure goes to stderr with its causes.
pub async fn execute(cli: Cli) -> ExitCode {
    if cli.no_color {
        console::set_colors_enabled(false);
    }
    let done = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Get(args) => get::get(args).await,
        Command::Watch(args) => watch::watch(args).await,
        Command::List(args) => list::list(args).await,
        Command::Status(args) => Ok(status::status(args).await),
        Command::History(args) => history::history(args).await,
        Command::Completion(args) => Ok(completion::completion(&args)),
        Command::Explain(args) => explain::explain(&args).await,
        Command::Lint(args) => lint::lint(&args),
        Command::Crd => crd::definition(),
        Command::Rbac(args) => crd::roles(&args),
        Command::Promote(args) => action::promote(args).await,
        Command::Skip(args) => action::ask(args, Do::Skip).await,
        Command::SetWeight(args) => action::set_weight(args).await,
        Command::Retry(args) => action::ask(args, Do::Retry).await,
        Command::Simulate(args) => simulate::run(&args),
        Command::Replay(args) => replay::run(args).await,
        Command::Abort(args) => action::ask(args, Do::Abort).await,
        Command::Pause(args) => action::ask(args, Do::Pause).await,
        Command::Resume(args) => action::ask(args, Do::Resume).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}: {error:#}", invocation::name());
            ExitCode::FAILURE
        }
    }
}
