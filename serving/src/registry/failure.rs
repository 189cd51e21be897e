//! Why model versions do not start.

use std::{fmt, io, path::PathBuf};

use crate::{repository::manifest::ManifestError, worker::StartError};

/// One model version that did not start.
#[derive(Debug)]
pub struct Failure {
    /// The file of the model.
    pub file: PathBuf,
    /// Why.
    pub error: LoadError,
}

/// Why a model version does not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its files are not what their sums say.
    #[error(transparent)]
    Manifest(ManifestError),
    /// Its file cannot be read.
    #[error("failed to read its file for the keys of its cache")]
    Read(#[source] io::Error),
    /// It does not load or warm up.
    #[error(transparent)]
    Start(StartError),
}

/// All model versions that did not start; never empty.
#[derive(Debug, thiserror::Error)]
pub struct Failures(pub Vec<Failure>);

impl Failure {
    /// The whole chain of reasons, without the file. Safe to show.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut reason = self.error.to_string();
        let mut source = std::error::Error::source(&self.error);
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.file.display(),
            // It ends up in a list, which has no single source.
            self.reason()
        )?;
        match self.error {
            LoadError::Manifest(_) | LoadError::Read(_) => Ok(()),
            LoadError::Start(StartError::WarmUp(_)) => f.write_str(
                "; check that it fits its model.yaml or config.pbtxt, and give its inputs shapes by 'warmUp' ('model_warmup') \
                 if it cannot run at size 1 wherever a size is free",
            ),
            LoadError::Start(_) => f.write_str(
                "; check that it is a TorchScript file for libtorch 2.11 that fits its model.yaml",
            ),
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_failures = self.0.len();
        write!(
            f,
            "{n_failures} model version{} cannot be served",
            if n_failures == 1 { "" } else { "s" }
        )?;
        for failure in &self.0 {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}
