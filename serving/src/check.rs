//! `serin-serve check`: whether a repository could be served, without serving it.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use crate::{
    backend::torch,
    registry::{Candidate, ModelVersion, unsteady},
    repository::{Entry, Problems},
    source::{Access, Place, Source},
};

/// Why a repository did not pass.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It has problems; nothing was loaded.
    #[error(transparent)]
    Repository(Problems),
    /// So many versions do not load or warm up; their lines say why.
    #[error("{failed} of {all} model versions cannot be served")]
    Models {
        /// Those that cannot.
        failed: usize,
        /// All of them.
        all: usize,
    },
    /// The lines could not be written.
    #[error("failed to write the result")]
    Write(#[source] io::Error),
}

/// One version, and why it does not start.
struct Line<'a>(&'a Entry, Result<(), String>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Entry { model, version, .. }, result) = self;
        match result {
            Ok(()) => write!(f, "{model}/{version}: ok"),
            Err(reason) => write!(f, "{model}/{version}: FAILED: {reason}"),
        }
    }
}

/// Reads the repository at `place`, loads and warms each version that would be served, one after the other, and writes a
/// line for each to `out`. A forward may use `threads` threads.
///
/// # Errors
/// [`CheckError`]
pub async fn check(
    (place, access): (&Place, &Access),
    threads: usize,
    out: &mut impl Write,
) -> Result<(), CheckError> {
    let source = Source::open(place, access).map_err(CheckError::Repository)?;
    let entries = source.read().await.map_err(CheckError::Repository)?;
    torch::prepare(threads);
    let mut failed = 0;
    for entry in &entries {
        let candidate = Candidate {
            entry: entry.clone(),
            // One is as good as another.
            loads: torch::loaders(entry).into_iter().take(1).collect(),
        };
        let mut notes: Vec<&str> = entry.notes.iter().map(String::as_str).collect();
        let result = match ModelVersion::start(candidate, 1, None, Arc::default()).await {
            Ok(loaded) => {
                // The next one has the memory to itself.
                loaded.worker.stop().await;
                notes.extend(unsteady::notes(&loaded.worker, loaded.cache.as_ref()));
                Ok(())
            }
            Err(failure) => {
                failed += 1;
                Err(failure.to_string())
            }
        };
        for note in notes {
            let Entry { model, version, .. } = entry;
            writeln!(out, "{model}/{version}: note: {note}").map_err(CheckError::Write)?;
        }
        writeln!(out, "{}", Line(entry, result)).map_err(CheckError::Write)?;
    }
    if failed > 0 {
        let all = entries.len();
        return Err(CheckError::Models { failed, all });
    }
    Ok(())
}
