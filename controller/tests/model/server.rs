//! The API server: a store with versions, and a watch that remembers what it may tell late, twice or not at all.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use serin_controller::cluster::fleet::{Failure, ObjectWrite, StatusWrite};
use serin_controller::cluster::names;
use serin_controller::cluster::object::ObjectId;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::rollout::RolloutState;
use serin_controller::validate::RolloutName;

/// Versions of a thing that a watch may still tell.
const KEPT: usize = 4;

/// What a watch tells of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Thing {
    /// The rollout.
    Resource,
    /// An object of Istio's.
    Object(ObjectId),
}

/// The rollout as stored.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// As the watch tells it.
    pub(crate) resource: ModelRollout,
    /// What its checkpoint says.
    pub(crate) state: Option<RolloutState>,
}

/// Versions of one thing, the newest last; `None`: it is not there.
#[derive(Clone, Debug)]
pub(crate) struct Versions<T>(Vec<(u64, u64, Option<Arc<T>>)>);

impl<T> Versions<T> {
    fn new() -> Self {
        Self(vec![(0, 0, None)])
    }

    fn push(&mut self, digest: u64, value: Option<T>) -> u64 {
        let version = self.version() + 1;
        self.0.push((version, digest, value.map(Arc::new)));
        if self.0.len() > KEPT {
            self.0.remove(0);
        }
        version
    }

    /// The newest version's number.
    pub(crate) fn version(&self) -> u64 {
        self.0.last().expect("never empty").0
    }

    /// What is there now.
    pub(crate) fn now(&self) -> Option<&Arc<T>> {
        self.0.last().expect("never empty").2.as_ref()
    }

    /// What was there before that, with its version.
    pub(crate) fn before(&self) -> Option<(u64, Option<&Arc<T>>)> {
        let at = self.0.len().checked_sub(2)?;
        let (version, _, value) = &self.0[at];
        Some((*version, value.as_ref()))
    }

    /// What came after a version, in order.
    pub(crate) fn after(&self, seen: u64) -> impl Iterator<Item = (u64, Option<&Arc<T>>)> {
        let later = self.0.iter().filter(move |(version, ..)| *version > seen);
        later.map(|(version, _, value)| (*version, value.as_ref()))
    }
}

impl<T> Hash for Versions<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (version, digest, _) in &self.0 {
            (version, digest).hash(hasher);
        }
    }
}

/// A write on its way.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// A status, whole.
    Status(Box<StatusWrite>),
    /// An object: created, or applied whole and by force.
    Object(ObjectWrite),
    /// An object's deletion.
    Delete(ObjectId, String),
    /// A rollout's finalizer: version, and whether it is to be there.
    Finalizer(RolloutName, String, bool),
}

impl Write {
    /// What it changes.
    pub(crate) fn thing(&self) -> Thing {
        match self {
            Self::Status(_) | Self::Finalizer(..) => Thing::Resource,
            Self::Object(write) => Thing::Object(write.object.id.clone()),
            Self::Delete(id, _) => Thing::Object(id.clone()),
        }
    }

    /// The version that it was computed from; none: the thing was not there.
    fn version(&self) -> Option<&str> {
        match self {
            Self::Status(write) => Some(&write.resource_version),
            Self::Object(write) => write.resource_version.as_deref(),
            Self::Delete(_, version) | Self::Finalizer(_, version, _) => Some(version),
        }
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Version afterwards.
    pub(crate) version: u64,
    /// The object afterwards.
    pub(crate) object: Option<Value>,
}

/// The server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// The one rollout.
    pub(crate) resource: Versions<Resource>,
    /// Objects of Istio's.
    pub(crate) objects: BTreeMap<ObjectId, Versions<Value>>,
}

impl Hash for Server {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.resource.hash(hasher);
        for (id, versions) in &self.objects {
            id.hash(hasher);
            versions.hash(hasher);
        }
    }
}

impl Server {
    /// With a rollout that somebody has just applied.
    pub(crate) fn new(spec: &Value) -> Self {
        let resource = json!({
            "metadata": {"name": "fraud", "namespace": "ml", "uid": "u", "generation": 1},
            "spec": spec
        });
        let resource = serde_json::from_value(resource).expect("a resource");
        let mut server = Self {
            resource: Versions::new(),
            objects: BTreeMap::new(),
        };
        server.put_resource(resource);
        server
    }

    /// What the rollout's checkpoint says.
    pub(crate) fn state(&self) -> Option<&RolloutState> {
        self.resource.now()?.state.as_ref()
    }

    /// Version of a thing.
    pub(crate) fn version(&self, thing: &Thing) -> u64 {
        match thing {
            Thing::Resource => self.resource.version(),
            Thing::Object(id) => self.objects.get(id).map_or(0, Versions::version),
        }
    }

    /// Everything that there is or was.
    pub(crate) fn things(&self) -> Vec<Thing> {
        let objects = self.objects.keys().cloned().map(Thing::Object);
        objects.chain([Thing::Resource]).collect()
    }

    /// An object as it is now.
    pub(crate) fn object(&self, id: &ObjectId) -> Option<&Value> {
        Some(&**self.objects.get(id)?.now()?)
    }

    fn put_resource(&mut self, mut resource: ModelRollout) -> u64 {
        let version = self.resource.version() + 1;
        resource.metadata.resource_version = None;
        let text = serde_json::to_string(&resource).expect("it is JSON");
        resource.metadata.resource_version = Some(version.to_string());
        let status = resource.status.as_ref();
        let checkpoint = status.and_then(|status| status.checkpoint.as_deref());
        let state = checkpoint.map(|it| serde_json::from_str(it).expect("a checkpoint"));
        self.resource
            .push(digest(&text), Some(Resource { resource, state }))
    }

    /// Somebody changes the resource.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut ModelRollout)) {
        let Some(stored) = self.resource.now() else {
            return;
        };
        let mut resource = stored.resource.clone();
        edit(&mut resource);
        self.put_resource(resource);
    }

    /// Somebody deletes the resource: it stays as long as it has a finalizer.
    pub(crate) fn delete_resource(&mut self, now: Timestamp) {
        let finalizers = |it: &ModelRollout| it.metadata.finalizers.clone().unwrap_or_default();
        match self.resource.now() {
            Some(stored) if !finalizers(&stored.resource).is_empty() => {
                self.edit(|resource| resource.metadata.deletion_timestamp = Some(Time(now)));
            }
            Some(_) => {
                self.resource.push(0, None);
            }
            None => {}
        }
    }

    /// Takes a write, or refuses it. `blind`: without a look at its version.
    pub(crate) fn take(&mut self, write: &Write, blind: bool) -> Result<Answer, Failure> {
        let thing = write.thing();
        let (there, present) = match &thing {
            Thing::Resource => (self.resource.version(), self.resource.now().is_some()),
            Thing::Object(id) => (self.version(&thing), self.object(id).is_some()),
        };
        match write.version() {
            // What was not there when it was decided must not be there now.
            None if present && !blind => return Err(Failure::Conflict),
            None => {}
            Some(_) if !present && thing == Thing::Resource => return Err(Failure::Conflict),
            // Server-side apply makes what is not there, whatever the version says.
            Some(_) if !present => {}
            Some(version) if version != there.to_string() && !blind => {
                return Err(Failure::Conflict);
            }
            Some(_) => {}
        }
        let mut object = None;
        match write {
            Write::Status(write) => {
                let stored = self.resource.now().ok_or(Failure::Other)?;
                if stored.resource.status.as_ref() != Some(&write.status) {
                    self.edit(|resource| resource.status = Some(write.status.clone()));
                }
            }
            Write::Finalizer(_, _, wanted) => {
                self.edit(|resource| {
                    let named = [names::FINALIZER.to_owned()];
                    let kept = named.into_iter().filter(|_| *wanted);
                    resource.metadata.finalizers = Some(kept.collect());
                });
                let stored = self.resource.now().ok_or(Failure::Other)?;
                if !wanted && stored.resource.metadata.deletion_timestamp.is_some() {
                    self.resource.push(0, None);
                }
            }
            Write::Object(write) => object = Some(self.apply(write)),
            Write::Delete(id, _) => {
                let versions = self.objects.get_mut(id).ok_or(Failure::Other)?;
                versions.push(0, None);
            }
        }
        let version = self.version(&thing);
        Ok(Answer { version, object })
    }

    fn apply(&mut self, write: &ObjectWrite) -> Value {
        let id = &write.object.id;
        let versions = self.objects.entry(id.clone());
        let versions = versions.or_insert_with(Versions::new);
        let version = |object: &Value, version: u64| {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            object
        };
        let present = version(&write.object.object, versions.version());
        if versions.now().is_some_and(|now| **now == present) {
            return present;
        }
        let next = version(&write.object.object, versions.version() + 1);
        versions.push(digest(&write.object.object.to_string()), Some(next.clone()));
        next
    }
}

/// A number that stands for a text.
pub(crate) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
