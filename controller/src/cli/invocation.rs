//! The name under which the program was started: `serin`, or `kubectl-serin`, which kubectl calls as its plugin, or
//! `kubectl_complete-serin`, which it asks how a command of the plugin may go on.

use std::ffi::OsStr;
use std::path::Path;

/// kubectl finds its plugins by this name on the `PATH`.
const PLUGIN: &str = "kubectl-serin";
const COMPLETION: &str = "kubectl_complete-serin";

/// What people type to start it.
#[must_use]
pub(super) fn name() -> &'static str {
    if is_plugin() {
        "kubectl serin"
    } else {
        "serin"
    }
}

/// Whether kubectl calls it.
#[must_use]
pub(super) fn is_plugin() -> bool {
    started_as(PLUGIN)
}

/// The words typed so far, if kubectl asks how they may go on.
#[must_use]
pub(super) fn asked_by_kubectl() -> Option<Vec<String>> {
    let words = || std::env::args_os().skip(1);
    started_as(COMPLETION).then(|| {
        words()
            .map(|it| it.to_string_lossy().into_owned())
            .collect()
    })
}

fn started_as(name: &str) -> bool {
    let mut words = std::env::args_os();
    words.next().is_some_and(|program| is_named(&program, name))
}

fn is_named(program: &OsStr, name: &str) -> bool {
    Path::new(program)
        .file_stem()
        .is_some_and(|stem| stem == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_known_by_its_file_name_wherever_it_is() {
        for (program, plugin) in [
            ("kubectl-serin", true),
            ("/usr/local/bin/kubectl-serin", true),
            ("serin", false),
            ("/opt/kubectl-serin/serin", false),
        ] {
            assert_eq!(is_named(OsStr::new(program), PLUGIN), plugin, "{program}");
        }
    }
}
