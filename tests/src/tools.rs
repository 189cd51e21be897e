//! Where the programs are: those that `make setup` fetched, and our own, built on first use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

/// Our own programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The controller and command line, `serin`.
    pub serin: PathBuf,
    /// The model server, `serin-serve`.
    pub serve: PathBuf,
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Envoy: the program that `$ENVOY` names, else the one that `make setup` linked.
///
/// # Errors
/// When it is not there.
pub fn envoy() -> Result<PathBuf> {
    tool("envoy", "ENVOY", std::env::var_os("ENVOY"))
}

/// Prometheus: the program that `$PROMETHEUS` names, else the one that `make setup` linked.
///
/// # Errors
/// When it is not there.
pub fn prometheus() -> Result<PathBuf> {
    tool("prometheus", "PROMETHEUS", std::env::var_os("PROMETHEUS"))
}

/// Prometheus' own test tool: the program that `$PROMTOOL` names, else the one that `make setup` linked.
///
/// # Errors
/// When it is not there.
pub fn promtool() -> Result<PathBuf> {
    tool("promtool", "PROMTOOL", std::env::var_os("PROMTOOL"))
}

/// kube-apiserver: of the folder that `$KUBEBUILDER_ASSETS` names, else the one that `make setup-cluster` linked.
///
/// # Errors
/// When it is not there.
pub fn kube_apiserver() -> Result<PathBuf> {
    asset("kube-apiserver")
}

/// etcd, likewise.
///
/// # Errors
/// When it is not there.
pub fn etcd() -> Result<PathBuf> {
    asset("etcd")
}

/// kubectl, likewise.
///
/// # Errors
/// When it is not there.
pub fn kubectl() -> Result<PathBuf> {
    asset("kubectl")
}

/// istiod: the program that `$ISTIOD` names, else the one that `make setup-cluster` linked.
///
/// # Errors
/// When it is not there.
pub fn istiod() -> Result<PathBuf> {
    find_tool("istiod", &CLUSTER, "ISTIOD", std::env::var_os("ISTIOD"))
}

/// The folder with the resource definitions of others: the one that `$CLUSTER_CRDS` names, else that of
/// `make setup-cluster`.
///
/// # Errors
/// When it is not there.
pub fn crds() -> Result<PathBuf> {
    let named = std::env::var_os("CLUSTER_CRDS");
    find_tool("crds", &CLUSTER, "CLUSTER_CRDS", named)
}

/// Flagger: the program that `$FLAGGER` names, else the one that `tests/setup/cluster.sh flagger` linked.
///
/// # Errors
/// When it is not there.
pub fn flagger() -> Result<PathBuf> {
    find_tool("flagger", &FLAGGER, "FLAGGER", std::env::var_os("FLAGGER"))
}

/// Its resource definitions: the file that `$FLAGGER_CRDS` names, else that of `tests/setup/cluster.sh flagger`.
///
/// # Errors
/// When it is not there.
pub fn flagger_crds() -> Result<PathBuf> {
    let named = std::env::var_os("FLAGGER_CRDS");
    find_tool("flagger-crds.yaml", &FLAGGER, "FLAGGER_CRDS", named)
}

/// wrk, which makes load: the program that `$WRK` names, else the one that `tests/setup/setup.sh rivals` linked.
///
/// # Errors
/// When it is not there.
pub fn wrk() -> Result<PathBuf> {
    find_tool("wrk/wrk", &RIVALS, "WRK", std::env::var_os("WRK"))
}

/// The Python packages of other model servers: the folder that `$RIVALS` names, else that of
/// `tests/setup/setup.sh rivals`.
///
/// # Errors
/// When it is not there.
pub fn rivals() -> Result<PathBuf> {
    find_tool("rivals", &RIVALS, "RIVALS", std::env::var_os("RIVALS"))
}

fn asset(name: &str) -> Result<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty());
    let named = assets.map(|folder| Path::new(&folder).join(name).into_os_string());
    find_tool(name, &CLUSTER, "KUBEBUILDER_ASSETS", named)
}

/// A part of the setup: its folder below the root, and what fetches it.
struct Part {
    folder: &'static str,
    target: &'static str,
}

const BASIC: Part = Part {
    folder: ".deps",
    target: "make setup",
};
const CLUSTER: Part = Part {
    folder: ".deps/cluster",
    target: "make setup-cluster",
};
const FLAGGER: Part = Part {
    folder: ".deps",
    target: "tests/setup/cluster.sh flagger",
};

const RIVALS: Part = Part {
    folder: ".deps",
    target: "tests/setup/setup.sh rivals",
};

fn tool(name: &str, variable: &str, named: Option<OsString>) -> Result<PathBuf> {
    find_tool(name, &BASIC, variable, named)
}

/// The path in an environment variable, else the link of the setup. An empty variable is as good as none.
fn find_tool(name: &str, part: &Part, variable: &str, named: Option<OsString>) -> Result<PathBuf> {
    if let Some(path) = named.filter(|path| !path.is_empty()).map(PathBuf::from) {
        if path.exists() {
            return Ok(path);
        }
        bail!(
            "'{}', which ${variable} names, is not there: set it to the absolute path of what you have, or to nothing",
            path.display()
        );
    }
    let path = repository().join(part.folder).join(name);
    if path.exists() {
        return Ok(path);
    }
    bail!(
        "'{}' is not there: run '{}', or set ${variable}",
        path.display(),
        part.target
    )
}

/// The filter as Envoy loads it, built once per process, so that plain `cargo test` works right after `make setup`.
///
/// # Errors
/// When cargo fails; its own words are on stderr.
pub fn filter() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BUILT, || {
        // The script of `make wasm`: what is tested is what is shipped.
        let output = Command::new(repository().join("tests/setup/wasm.sh"))
            .stderr(Stdio::inherit())
            .output()
            .context("failed to start tests/setup/wasm.sh")?;
        if !output.status.success() {
            bail!("failed to build the filter: see above");
        }
        let path = String::from_utf8(output.stdout).context("the filter's path is no text")?;
        Ok(PathBuf::from(path.trim()))
    })
}

/// The filter that does nothing, as cargo builds it: with all exports of the SDK beside its own.
///
/// # Errors
/// When cargo fails; its own words are on stderr.
pub fn noop() -> Result<PathBuf> {
    let package = ["-p", "serin-noop"];
    let target = ["--target", "wasm32-wasip1", "--profile", "wasm"];
    let files = cargo(&[package.as_slice(), target.as_slice()].concat())?;
    find(&files, "serin_noop.wasm")
}

/// Our programs, built once per process.
///
/// # Errors
/// When cargo fails; its own words are on stderr.
pub fn programs() -> Result<Programs> {
    static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
    once(&BUILT, || {
        // The whole workspace, as `make` builds it: a part of it may want other features of a dependency, and all
        // would be compiled twice. The same for the profile of the one who asks.
        let mut arguments = vec!["--workspace", "--bins"];
        if !cfg!(debug_assertions) {
            arguments.push("--release");
        }
        let files = cargo(&arguments)?;
        Ok(Programs {
            serin: find(&files, "serin")?,
            serve: find(&files, "serin-serve")?,
        })
    })
}

fn once<T: Clone>(
    built: &OnceLock<Result<T, String>>,
    build: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // An error cannot be cloned, its text can.
    let built = built.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(|text| anyhow!(text))
}

fn find(files: &[PathBuf], name: &str) -> Result<PathBuf> {
    files
        .iter()
        .find(|path| path.file_name().is_some_and(|file| file == name))
        .cloned()
        .ok_or_else(|| anyhow!("cargo built no '{name}'"))
}

/// The part of cargo's messages that says what was built, fresh or not.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Runs `cargo build` and returns the files it made: cargo itself says where its target folder is.
fn cargo(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    // What cargo tells a test of its package. To a build that begins here it would be a change of what some crates look at
    // (`ring` does), so that all above them would be compiled again, and once more by the next one outside.
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if told.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    let output = command
        .current_dir(repository())
        .args([
            "build",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!(
            "failed to build: 'cargo build {}' ended with {}",
            arguments.join(" "),
            output.status
        );
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Message>();
    let mut files = Vec::new();
    for message in messages {
        let message = message.context("failed to read what cargo said")?;
        if message.reason == "compiler-artifact" {
            files.extend(message.filenames);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_says_what_to_run_and_what_to_set() {
        let error = tool("no-such-tool", "NO_SUCH_TOOL", None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("run 'make setup', or set $NO_SUCH_TOOL"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_goes_first_and_is_never_passed_over() {
        let shell = Path::new("/bin/sh");
        let found = tool("envoy", "ENVOY", Some(shell.into())).unwrap();
        assert_eq!(found, shell);
        let empty = tool("envoy", "ENVOY", Some(OsString::new())).unwrap();
        assert_eq!(empty, repository().join(".deps/envoy"));
        let error = tool("envoy", "ENVOY", Some("/no/envoy".into())).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("'/no/envoy', which $ENVOY names, is not there"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_part_of_the_cluster_says_what_fetches_it() {
        let error = find_tool("no-such-tool", &CLUSTER, "NO_SUCH_TOOL", None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("run 'make setup-cluster', or set $NO_SUCH_TOOL"),
            "{error}"
        );
    }

    #[test]
    fn setup_left_envoy_and_prometheus() {
        assert!(envoy().unwrap().is_file());
        assert!(prometheus().unwrap().is_file());
    }
}
