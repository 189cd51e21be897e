//! `serin crd` and `serin rbac`: what an installation begins with.

use std::process::ExitCode;

use clap::Args;

use crate::cluster::rbac;
use crate::crd;

#[derive(Debug, Args)]
pub(super) struct RbacArgs {
    /// Print what stands in the place of the ClusterRole `serin` where the controller works in this namespace alone; once
    /// for each
    #[arg(long = "namespace", short, value_name = "NAME")]
    namespaces: Vec<String>,
}

/// Prints the resource definition.
pub(super) fn definition() -> anyhow::Result<ExitCode> {
    print(&crd::file()?);
    Ok(ExitCode::SUCCESS)
}

/// Prints the roles.
pub(super) fn roles(args: &RbacArgs) -> anyhow::Result<ExitCode> {
    print(&rbac::file(&args.namespaces)?);
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) {
    say!("{}", text.trim_end());
}
