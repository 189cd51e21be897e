//! Rollout files that a command is given by name.

use std::path::Path;

use anyhow::Context;

use crate::simulate::engine::by_errors;
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

/// Reads one that is to be tried on counts of errors alone, and says which of its metrics are left out.
pub(super) fn read_for_errors(path: &Path) -> anyhow::Result<Option<Source>> {
    let Some(source) = read_rollout(path)? else {
        return Ok(None);
    };
    let (source, left) = by_errors(&source).with_context(|| path.display().to_string())?;
    if !left.is_empty() {
        eprintln!(
            "serin: there are counts of errors only here, so these metrics are left out: {}",
            left.join(", ")
        );
    }
    Ok(Some(source))
}
