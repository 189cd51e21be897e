//! The name under which the program was started: `serin`, or `kubectl-serin`, which kubectl calls as its plugin.

use std::ffi::OsStr;
use std::path::Path;

/// kubectl finds its plugins by this name on the `PATH`.
const PLUGIN: &str = "kubectl-serin";

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
    std::env::args_os()
        .next()
        .is_some_and(|program| is_plugin_name(&program))
}

fn is_plugin_name(program: &OsStr) -> bool {
    Path::new(program)
        .file_stem()
        .is_some_and(|stem| stem == PLUGIN)
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
            assert_eq!(is_plugin_name(OsStr::new(program)), plugin, "{program}");
        }
    }
}
