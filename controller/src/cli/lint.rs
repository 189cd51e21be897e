//! `serin lint`: the checks of the controller, before it sees the file, and warnings, which fail nothing.

mod warnings;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::locate::place_of;
use crate::source::{Mistake, parse};
use warnings::warnings;

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
            Ok(source) => {
                let found = warnings(&source.rollout);
                for mut problem in found {
                    let place = place_of(&text, &problem.path);
                    problem.path = format!("warning: {}", problem.path);
                    let file = file.clone();
                    eprintln!(
                        "{}",
                        Mistake {
                            file,
                            place,
                            problem
                        }
                    );
                }
                say!("{file}: rollout {} is fine", source.plan.name);
            }
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
