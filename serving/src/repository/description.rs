//! What describes a model: its model.yaml, or, for models that come from Triton, its config.pbtxt.

use std::path::Path;

use super::{CONFIG_PBTXT, MODEL_YAML, Problem, VersionPolicy, config_pbtxt, model_yaml};
use crate::spec::ModelSpec;

/// What is said of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Of each version.
    pub spec: ModelSpec,
    /// Which of them are served.
    pub versions: VersionPolicy,
    /// What is written and not heeded, one sentence each.
    pub notes: Vec<String>,
}

/// Reads what describes the model in a folder.
///
/// # Errors
/// Everything wrong with it.
pub fn read(folder: &Path) -> Result<Described, Vec<Problem>> {
    let (yaml, pbtxt) = (folder.join(MODEL_YAML), folder.join(CONFIG_PBTXT));
    // A model.yaml that is there and cannot be read is one that is wrong.
    match (yaml.symlink_metadata().is_ok(), pbtxt.exists()) {
        (false, true) => config_pbtxt::read(&pbtxt),
        (_, both) => {
            let mut described = model_yaml::read(&yaml)?;
            if both {
                let note = format!("{CONFIG_PBTXT} is not read, because there is a {MODEL_YAML}");
                described.notes.push(note);
            }
            Ok(described)
        }
    }
}
