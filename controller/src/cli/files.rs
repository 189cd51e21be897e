//! Rollout files that a command is given by name.

use std::path::Path;

use anyhow::Context;

use crate::source::{Source, parse};

/// Reads one; its mistakes go to stderr, and then there is none.
pub(super) fn read_rollout(path: &Path) -> anyhow::Result<Option<Source>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read '{file}'"))?;
    match parse(&file, &text) {
        Ok(source) => Ok(Some(source)),
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            Ok(None)
        }
    }
}
