//! From flags and kubeconfig to a connection.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// An API server that is there takes milliseconds.
const CONNECT: Duration = Duration::from_secs(5);

/// The connection that the flags name, else the kubeconfig's, else that of a pod's service account.
pub(in crate::cli) async fn connection(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> anyhow::Result<Config> {
    let named = kubeconfig.is_some() || context.is_some();
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let found = match kubeconfig {
        Some(file) => match Kubeconfig::read_from(file) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    let mut config = match found {
        Ok(config) => config,
        Err(error) if named => return Err(plain(error, kubeconfig.is_some())),
        Err(error) => match Config::incluster() {
            Ok(config) => config,
            Err(_) => return Err(plain(error, kubeconfig.is_some())),
        },
    };
    config.connect_timeout = Some(CONNECT);
    Ok(config)
}

fn plain(error: KubeconfigError, named: bool) -> anyhow::Error {
    match error {
        KubeconfigError::ReadConfig(reason, path)
            if reason.kind() == std::io::ErrorKind::NotFound =>
        {
            if named {
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
        // Below its first line is a picture of the file, with all the secrets in it.
        KubeconfigError::Parse(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            anyhow!("the kubeconfig cannot be understood: {first}")
        }
        // Its words have their causes in them.
        other => anyhow!("the kubeconfig cannot be used: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_installation_both_kinds_are_named_with_their_flags() {
        let missing = || {
            let reason = std::io::Error::from(std::io::ErrorKind::NotFound);
            KubeconfigError::ReadConfig(reason, "/home/ann/.kube/config".into())
        };
        let said = plain(missing(), false).to_string();
        for word in [
            "--standalone DIR",
            "SERIN_STANDALONE",
            "--kubeconfig FILE",
            "KUBECONFIG",
        ] {
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(
            plain(missing(), true).to_string(),
            "there is no kubeconfig '/home/ann/.kube/config'"
        );
    }

    #[test]
    fn a_mistake_in_a_kubeconfig_shows_nothing_of_its_secrets() {
        let text = "users:\n- {name: ann, user: {token: hunter2, [}}";
        let error = Kubeconfig::from_yaml(text).unwrap_err();
        assert!(error.to_string().contains("hunter2"), "{error}");
        let said = plain(error, false).to_string();
        assert!(
            said.contains("line 2") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn a_wrong_context_says_how_the_right_one_is_found() {
        let error = KubeconfigError::LoadContext("prd".to_owned());
        let said = plain(error, false).to_string();
        assert!(
            said.contains("'prd'") && said.contains("get-contexts"),
            "{said}"
        );
    }
}
