//! The loaded models, found by the name and version of a URL.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use futures::future::join_all;

use crate::{
    backend::Load,
    repository::{Entry, parse_version},
    spec::ModelSpec,
    tensor::shorten,
    worker::{StartError, Worker},
};

/// A model version about to be loaded.
pub struct Candidate {
    /// Where it was found.
    pub entry: Entry,
    /// How each of its instances is loaded.
    pub loads: Vec<Load>,
}

/// A model version that can serve.
pub struct ModelVersion {
    /// Name of the model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// What it takes and returns.
    pub spec: Arc<ModelSpec>,
    /// The thread that owns it.
    pub worker: Worker,
}

/// All loaded model versions. Nothing is added or removed while the server runs.
pub struct Registry {
    models: BTreeMap<String, BTreeMap<u64, Arc<ModelVersion>>>,
}

/// A model or version that is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No such model.
    #[error("model '{0}' is not found")]
    Model(String),
    /// No such version of a model that is here.
    #[error("version '{version}' of model '{model}' is not found")]
    Version {
        /// The model.
        model: String,
        /// The version as the URL has it, shortened.
        version: String,
    },
}

/// One model version that did not start.
#[derive(Debug)]
pub struct Failure {
    /// The file of the model.
    pub file: PathBuf,
    /// Why.
    pub error: StartError,
}

/// All model versions that did not start; never empty.
#[derive(Debug, thiserror::Error)]
pub struct Failures(pub Vec<Failure>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_failures = self.0.len();
        write!(
            f,
            "{n_failures} model version{} cannot be served",
            if n_failures == 1 { "" } else { "s" }
        )?;
        for Failure { file, error } in &self.0 {
            // A list has no single source, so the whole chain of each failure stands here.
            write!(f, "\n  {}: {error}", file.display())?;
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
            write!(
                f,
                "; check that it is a TorchScript file for libtorch 2.11 that fits its model.yaml"
            )?;
        }
        Ok(())
    }
}

impl Registry {
    /// Loads and warms all candidates at the same time; up to `queue` requests will wait for each.
    ///
    /// # Errors
    /// [`Failures`] with every candidate that did not start; the others are unloaded again.
    pub async fn load(candidates: Vec<Candidate>, queue: usize) -> Result<Self, Failures> {
        let start = |Candidate { entry, loads }: Candidate| async move {
            let Entry {
                model,
                version,
                spec,
                file,
            } = entry;
            let queue = spec.serving.queue_size.unwrap_or(queue);
            let name = format!("{model}/{version}");
            let started = Worker::start(name, Arc::clone(&spec), queue, loads).await;
            match started {
                Ok(worker) => {
                    tracing::info!(model, version, "model is loaded and warm");
                    Ok(Arc::new(ModelVersion {
                        model,
                        version,
                        spec,
                        worker,
                    }))
                }
                Err(error) => Err(Failure { file, error }),
            }
        };
        let mut registry = Self {
            models: BTreeMap::new(),
        };
        let mut failures = Vec::new();
        for result in join_all(candidates.into_iter().map(start)).await {
            match result {
                Ok(loaded) => {
                    registry
                        .models
                        .entry(loaded.model.clone())
                        .or_default()
                        .insert(loaded.version, loaded);
                }
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            return Ok(registry);
        }
        registry.stop().await;
        Err(Failures(failures))
    }

    /// The model version that a URL means; the highest one if it names none.
    ///
    /// # Errors
    /// [`NotFound`]
    pub fn find(&self, model: &str, version: Option<&str>) -> Result<&Arc<ModelVersion>, NotFound> {
        let versions = self
            .models
            .get(model)
            .ok_or_else(|| NotFound::Model(shorten(model)))?;
        let found = match version {
            None => versions.last_key_value().map(|(_, highest)| highest),
            Some(version) => parse_version(version).and_then(|version| versions.get(&version)),
        };
        found.ok_or_else(|| NotFound::Version {
            model: model.to_owned(),
            version: shorten(version.unwrap_or_default()),
        })
    }

    /// All model versions, by model and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ModelVersion>> {
        self.models.values().flat_map(BTreeMap::values)
    }

    /// The loaded versions of a model, lowest first.
    pub fn versions(&self, model: &str) -> impl Iterator<Item = u64> {
        self.models
            .get(model)
            .into_iter()
            .flat_map(|versions| versions.keys().copied())
    }

    /// Whether every model version can serve.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.iter().all(|loaded| loaded.worker.is_alive())
    }

    /// Whether a model version has died: it comes back only with a new process.
    #[must_use]
    pub fn has_died(&self) -> bool {
        self.iter().any(|loaded| loaded.worker.has_died())
    }

    /// Lets every worker finish what is queued, and joins them.
    pub async fn stop(&self) {
        join_all(self.iter().map(|loaded| loaded.worker.stop())).await;
    }
}
