//! What a person types. Exit codes: 0 done, 1 failed or refused, 2 wrong usage (clap's).
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
mod client;
mod crd;
mod explain;
mod files;
mod get;
mod lint;
mod operate;
mod replay;
mod run;
mod simulate;
mod view;
mod watch;

pub use view::{Palette, short, sparkline, tree};

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::rollout::Do;

/// Canary releases of ML models inside the mesh.
#[derive(Debug, Parser)]
#[command(name = "serin", version, about, long_about = None, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Run(run::RunArgs),
    /// Show rollouts
    Get(get::GetArgs),
    /// Show rollouts live, until Ctrl-C
    Watch(watch::WatchArgs),
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
}

/// The installation a command is about.
#[derive(Debug, Clone, Args)]
struct Installation {
    /// Folder of a standalone installation
    #[arg(long = "standalone", env = "SERIN_STANDALONE", value_name = "DIR")]
    dir: PathBuf,
}

/// Does what was typed; the message of a failure goes to stderr with its causes.
pub async fn execute(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Get(args) => get::get(args).await,
        Command::Watch(args) => watch::watch(args).await,
        Command::Explain(args) => explain::explain(&args),
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
            eprintln!("serin: {error:#}");
            ExitCode::FAILURE
        }
    }
}
