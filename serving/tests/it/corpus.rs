//! Runs what the fuzzer runs on every input that is committed: seeds, and what it has found.

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a crate of its own as well"
)]
mod targets;

#[test]
fn every_committed_input_is_served_and_every_corpus_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
    for entry in fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name();
        let known = targets::TARGETS.iter().any(|(known, _)| name == *known);
        assert!(known, "{} is run by nothing", name.display());
    }
}
