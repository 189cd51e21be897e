//! Loading and unloading as clients ask for it, over either protocol.
//!
//! What is loaded is what the operator has put into the repository. Nothing of a request becomes a model or a part of its
//! configuration, and a name that is not in the repository is nothing but absent.

use std::sync::Arc;

use crate::{error::ApiError, reload::Reloader, tensor::shorten};

/// What the ports of the repository can do.
#[derive(Clone)]
pub(crate) struct Control(Arc<Reloader>);

impl Control {
    pub(crate) fn new(reloader: Arc<Reloader>) -> Self {
        Self(reloader)
    }

    /// Loads what the repository has of a model.
    ///
    /// # Errors
    /// [`ApiError::Wish`] for any of the `parameters`, and [`ApiError::Reload`].
    pub(crate) async fn load<'a>(
        &self,
        model: &str,
        parameters: impl Iterator<Item = &'a String>,
    ) -> Result<(), ApiError> {
        refuse(parameters, &[])?;
        self.0.load(model).await.map_err(ApiError::Reload)
    }

    /// Takes a model out.
    ///
    /// # Errors
    /// As of [`Control::load`].
    pub(crate) async fn unload<'a>(
        &self,
        model: &str,
        parameters: impl Iterator<Item = &'a String>,
    ) -> Result<(), ApiError> {
        // No model has dependents here, so either value is fulfilled.
        refuse(parameters, &["unload_dependents"])?;
        self.0.unload(model).await.map_err(ApiError::Reload)
    }
}

/// Refuses parameters that are not `known`.
fn refuse<'a>(
    mut parameters: impl Iterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), ApiError> {
    let Some(name) = parameters.find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let theirs = name == "config" || name.starts_with("file:");
    let name = shorten(name);
    Err(ApiError::Wish(if theirs {
        format!(
            "parameter '{name}' is refused: models and their configuration come from the model repository alone; put the \
             files there and load the model without it"
        )
    } else {
        format!("parameter '{name}' is not supported: leave it out")
    }))
}
