//! `serin lint`: the checks of the controller, before it sees the file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::source::parse;

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Rollout files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn lint(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read '{file}'"))?;
        match parse(&file, &text) {
            Ok(source) => say!("{file}: rollout {} is fine", source.plan.name),
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
