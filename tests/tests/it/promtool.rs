//! The real PromQL engine without a server: what `promtool` thinks of a config, of rules and of queries.

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;
use serin_tests::tools;
use serin_tests::world::World;

/// Runs it, which must succeed.
#[track_caller]
pub(crate) fn promtool(arguments: &[impl AsRef<OsStr>]) {
    let output = Command::new(tools::promtool().unwrap())
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a file of tests (`promtool test rules`), which must pass.
#[track_caller]
pub(crate) fn test_rules(file: &Value) {
    let world = World::new("promtool").unwrap();
    let path = world.file("test.json");
    std::fs::write(&path, file.to_string()).unwrap();
    promtool(&["test".as_ref(), "rules".as_ref(), path.as_os_str()]);
}
