//! From flags and kubeconfig to a connection.

use std::time::Duration;

use anyhow::anyhow;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::cli::installation::InstallationArgs;

/// A person waits.
const CONNECT: Duration = Duration::from_secs(5);

/// The connection that the flags name, else the kubeconfig's, else that of a pod's service account.
pub(super) async fn load(args: &InstallationArgs) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let found = match &args.kubeconfig {
        Some(file) => match Kubeconfig::read_from(file) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    let named = args.kubeconfig.is_some() || args.context.is_some();
    let mut config = match found {
        Ok(config) => config,
        Err(error) if named => return Err(plain(error, args)),
        Err(error) => match Config::incluster() {
            Ok(config) => config,
            Err(_) => return Err(plain(error, args)),
        },
    };
    config.connect_timeout = Some(CONNECT);
    // What is wrong is said to a person, who tries again, and not hidden behind a long wait.
    config.default_retry = false;
    Ok(config)
}

fn plain(error: KubeconfigError, args: &InstallationArgs) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(reason, path)
            if reason.kind() == std::io::ErrorKind::NotFound =>
        {
            if args.kubeconfig.is_some() {
                anyhow!("there is no kubeconfig '{}'", path.display())
            } else {
                anyhow!(
                    "neither a folder nor a cluster is named, and there is no kubeconfig '{}': say --standalone DIR \
                     (or set SERIN_STANDALONE), or --kubeconfig FILE (or set KUBECONFIG)",
                    path.display()
                )
            }
        }
        KubeconfigError::CurrentContextNotSet => {
            anyhow!("the kubeconfig names no current context: say --context NAME")
        }
        KubeconfigError::LoadContext(name) => {
            anyhow!(
                "the kubeconfig has no context '{name}': kubectl config get-contexts lists them"
            )
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            anyhow!("the kubeconfig has no cluster '{name}', which its context names")
        }
        // Its words have their causes in them.
        other => anyhow!("the kubeconfig cannot be used: {other}"),
    }
}
