//! The core is pure: its files name no clock, no runtime, no file and no network. A rule that only the documentation
//! states is broken within a year.

use std::path::Path;

const PURE: [&str; 25] = [
    "api",
    "cells",
    "claims",
    "evidence",
    "locate",
    "observation",
    "paths",
    "prometheus/query",
    "prometheus/sample",
    "quantity",
    "render",
    "replay",
    "report",
    "rivals",
    "rivals/kayenta",
    "rollout",
    "source",
    "stats",
    "stats/bernoulli",
    "stats/fairness",
    "stats/histogram",
    "stats/mean",
    "stats/poisson",
    "stats/srm",
    "validate",
];
const IMPURE: [&str; 14] = [
    "Timestamp::now",
    "Zoned::now",
    "Instant::now",
    "SystemTime",
    "tokio",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    // A grouped import would hide the above.
    "use std::{",
    "tracing",
    "rand::",
];

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for module in PURE {
        let mut files = vec![src.join(format!("{module}.rs"))];
        if let Ok(folder) = std::fs::read_dir(src.join(module)) {
            files.extend(
                folder
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| path.extension().is_some()),
            );
        }
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in IMPURE {
                assert!(
                    !code.contains(word),
                    "{} names '{word}', but it is part of the pure core",
                    file.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > PURE.len(), "the modules were not found");
}
