//! Writes to the API server. Each carries the resource version that it was computed from, so that a controller that is
//! leader no more is refused; and none begins when the Lease may end before it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, TypeMeta,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fleet::{Failure, ObjectWrite, StatusWrite};
use super::metrics::Metrics;
use super::names;
use super::object::{self, ObjectId, Owned, Print};
use super::resource::ModelRollout;
use super::watch::{api_resource, value};
use crate::api::{API_VERSION, KIND};
use crate::driver::chain;
use crate::validate::RolloutName;

/// How long a write may take; shorter than the Lease's margin.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Until when this controller may write; `None`: it is not the leader.
pub type Term = Option<Instant>;

/// Performs writes.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    term: watch::Receiver<Term>,
    metrics: Metrics,
    faults: Faults,
    /// Kinds of writes of which one got no answer in this round.
    hung: Arc<Mutex<BTreeSet<String>>>,
}

/// Tests end the process after a given number of writes: what is lost between any two is what must not matter.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    after: Option<u64>,
    written: Arc<AtomicU64>,
}

impl Faults {
    /// `after`: writes until the process ends itself; `None`: it does not.
    #[must_use]
    pub fn new(after: Option<u64>) -> Self {
        Self {
            after,
            written: Arc::default(),
        }
    }

    fn count(&self) {
        let written = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        if self.after == Some(written) {
            // As a kill does: no destructor, no last word.
            std::process::abort();
        }
    }
}

impl Writer {
    /// Writes as long as the term lasts.
    #[must_use]
    pub fn new(
        client: Client,
        term: watch::Receiver<Term>,
        metrics: Metrics,
        faults: Faults,
    ) -> Self {
        Self {
            client,
            term,
            metrics,
            faults,
            hung: Arc::default(),
        }
    }

    /// A round of writes begins. When one gets no answer the others of its kind are left for the next: a thousand of
    /// them, one after another, would keep the loop from everything else.
    pub fn begin(&self) {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        hung.clear();
    }

    /// Writes a status, whole.
    ///
    /// # Errors
    /// [`Failure`]; the log says why.
    pub async fn status(&self, write: &StatusWrite) -> Result<String, Failure> {
        let api = self.resources(&write.name);
        // The server takes nothing but the status from it.
        let resource = ModelRollout {
            types: Some(TypeMeta {
                api_version: API_VERSION.to_owned(),
                kind: KIND.to_owned(),
            }),
            metadata: ObjectMeta {
                name: Some(write.name.name.clone()),
                namespace: Some(write.name.namespace.clone()),
                resource_version: Some(write.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: json!({}),
            status: Some(write.status.clone()),
        };
        let written = self.guarded("status", write.name.to_string(), async {
            api.replace_status(&write.name.name, &params(), &resource)
                .await
        });
        let resource = written.await?;
        Ok(resource.metadata.resource_version.unwrap_or_default())
    }

    /// Applies an object whole.
    ///
    /// # Errors
    /// [`Failure`]; the log says why.
    pub async fn object(&self, write: &ObjectWrite) -> Result<Value, Failure> {
        let Owned { id, object } = &write.object;
        let api = self.objects(id);
        let (what, name) = (id.kind.plural(), id.to_string());
        let Some(version) = &write.resource_version else {
            let created = self.guarded(what, name, create(&api, &id.name, object));
            return Ok(value(created.await?));
        };
        let applied = self.guarded(what, name.clone(), apply(&api, &id.name, object, version));
        let applied = value(applied.await?);
        if Print::of(&applied).is(&Print::of(object)) {
            return Ok(applied);
        }
        // Applying leaves what others have added beside ours; only a replacement takes it away.
        let mut whole = applied;
        whole["spec"] = object["spec"].clone();
        let replaced = self.guarded(what, name, async {
            let whole = serde_json::from_value(whole).map_err(kube::Error::SerdeError)?;
            api.replace(&id.name, &params(), &whole).await
        });
        Ok(value(replaced.await?))
    }

    fn objects(&self, id: &ObjectId) -> Api<DynamicObject> {
        let resource = api_resource(id.kind);
        Api::namespaced_with(self.client.clone(), &id.namespace, &resource)
    }

    /// Deletes an object, if it is still the one that was seen.
    ///
    /// # Errors
    /// [`Failure`]; the log says why.
    pub async fn delete(&self, id: &ObjectId, resource_version: &str) -> Result<(), Failure> {
        let api = self.objects(id);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: Some(resource_version.to_owned()),
                uid: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.guarded(id.kind.plural(), id.to_string(), async {
            api.delete(&id.name, &params).await
        });
        deleted.await.map(drop)
    }

    /// Adds or removes the finalizer.
    ///
    /// # Errors
    /// [`Failure`]; the log says why.
    pub async fn finalizer(
        &self,
        name: &RolloutName,
        resource_version: &str,
        wanted: bool,
    ) -> Result<(String, bool), Failure> {
        let api = self.resources(name);
        let written = self.guarded("finalizer", name.to_string(), async {
            let there = api.get_metadata_opt(&name.name).await?;
            let finalizers = there.and_then(|it| it.metadata.finalizers);
            let mut finalizers = finalizers.unwrap_or_default();
            finalizers.retain(|it| it != names::FINALIZER);
            if wanted {
                finalizers.push(names::FINALIZER.to_owned());
            }
            let patch = json!({
                "metadata": {"resourceVersion": resource_version, "finalizers": finalizers}
            });
            let params = PatchParams::default();
            api.patch_metadata(&name.name, &params, &Patch::Merge(&patch))
                .await
        });
        let metadata = written.await?.metadata;
        Ok((metadata.resource_version.unwrap_or_default(), wanted))
    }

    fn resources(&self, name: &RolloutName) -> Api<ModelRollout> {
        Api::namespaced(self.client.clone(), &name.namespace)
    }

    async fn guarded<T>(
        &self,
        what: &str,
        name: String,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        let term = *self.term.borrow();
        if term.is_none_or(|until| Instant::now() >= until) {
            return Err(Failure::Other);
        }
        if self.is_hung(what) {
            return Err(Failure::Other);
        }
        let result = match tokio::time::timeout(TIMEOUT, write).await {
            Ok(result) => result,
            Err(_) => {
                self.hang(what);
                self.metrics.api_error(what, "timeout");
                tracing::warn!(
                    what,
                    name,
                    "the API server did not answer in time; tried again"
                );
                return Err(Failure::Other);
            }
        };
        match result {
            Ok(written) => {
                self.metrics.api_write(what);
                self.faults.count();
                Ok(written)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.metrics.api_error(what, "conflict");
                tracing::debug!(what, name, "somebody else wrote in between");
                Err(Failure::Conflict)
            }
            Err(error) => {
                self.metrics.api_error(what, "refused");
                let failure = match &error {
                    // Too many requests are nothing that people could mend.
                    kube::Error::Api(status)
                        if (400..500).contains(&status.code) && status.code != 429 =>
                    {
                        Failure::Refused(status.message.clone())
                    }
                    _ => Failure::Other,
                };
                let error = chain(&error);
                tracing::warn!(what, name, error, "cannot be written; tried again");
                Err(failure)
            }
        }
    }

    fn is_hung(&self, what: &str) -> bool {
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        hung.contains(what)
    }

    fn hang(&self, what: &str) {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        hung.insert(what.to_owned());
    }
}

/// Creates an object. One of its name without our mark is taken over: somebody has removed the mark. One with it is
/// another leader's, of which the watch will tell; applying to it would undo what that one knew.
async fn create(
    api: &Api<DynamicObject>,
    name: &str,
    object: &Value,
) -> Result<DynamicObject, kube::Error> {
    let whole = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    let conflict = match api.create(&params(), &whole).await {
        Err(kube::Error::Api(status)) if status.code == 409 => kube::Error::Api(status),
        other => return other,
    };
    let Some(there) = api.get_opt(name).await? else {
        return Err(conflict);
    };
    let there = value(there);
    let version = there.pointer("/metadata/resourceVersion");
    match version.and_then(Value::as_str) {
        Some(version) if !object::is_ours(&there) => apply(api, name, object, version).await,
        _ => Err(conflict),
    }
}

async fn apply(
    api: &Api<DynamicObject>,
    name: &str,
    object: &Value,
    version: &str,
) -> Result<DynamicObject, kube::Error> {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = json!(version);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&object)).await
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
