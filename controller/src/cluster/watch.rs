//! Watches: what changes on the API server, as one stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::object::{Kind, ObjectId};
use super::resource::ModelRollout;
use super::routes;
use crate::validate::RolloutName;

/// Which watch: a kind in a namespace, or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// `None`: our own resources.
    pub kind: Option<Kind>,
    /// `None`: all namespaces.
    pub namespace: Option<String>,
}

/// A change.
#[derive(Debug)]
pub enum Change {
    /// A resource is like this now.
    Resource(Box<ModelRollout>),
    /// A resource is gone.
    ResourceGone(RolloutName),
    /// An object is like this now.
    Object(ObjectId, Box<Value>),
    /// An object is gone.
    ObjectGone(ObjectId),
    /// A watch has told everything that there is: of its kind and namespace there is nothing else.
    Complete(Source, Present),
}

/// What a watch found there.
#[derive(Debug)]
pub enum Present {
    /// Resources.
    Resources(BTreeSet<RolloutName>),
    /// Objects.
    Objects(BTreeSet<ObjectId>),
}

/// The resource of a kind, as URLs have it.
#[must_use]
pub fn api_resource(kind: Kind) -> ApiResource {
    let (group, version) = kind
        .api_version()
        .split_once('/')
        .unwrap_or(("", kind.api_version()));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version().to_owned(),
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// Starts every watch; they end with the set. Errors are told in the log and tried again: a watch that has expired (410)
/// lists anew.
///
/// What is live may be for the routes to say, so our own resources are listed when all objects have been told. (To keep
/// them back here would be to hold thousands of them with all that the server says of each.)
#[must_use]
pub fn start(
    client: &Client,
    kinds: &[Kind],
    namespaces: &[String],
    changes: &Sender<Change>,
) -> (JoinSet<()>, BTreeSet<Source>) {
    let mut tasks = JoinSet::new();
    let mut sources = BTreeSet::new();
    let everywhere = [None];
    let named: Vec<_> = namespaces.iter().cloned().map(Some).collect();
    let places: &[Option<String>] = if named.is_empty() {
        &everywhere
    } else {
        &named
    };
    let told = Told {
        lists: Arc::new(Semaphore::new(0)),
        all: u32::try_from(places.len() * kinds.len()).unwrap_or(u32::MAX),
    };
    for namespace in places {
        let source = Source {
            kind: None,
            namespace: namespace.clone(),
        };
        sources.insert(source.clone());
        let api = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        tasks.spawn(resources(api, source, told.clone(), changes.clone()));
        for &kind in kinds {
            let resource = api_resource(kind);
            let source = Source {
                kind: Some(kind),
                namespace: namespace.clone(),
            };
            sources.insert(source.clone());
            let api = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            let (told, changes) = (told.clone(), changes.clone());
            tasks.spawn(objects(api, kind, source, told, changes));
        }
    }
    (tasks, sources)
}

/// How long a watch that failed waits before it is begun anew: as client-go does, but never as long, for after an outage
/// somebody's abort may be what it would tell of.
#[derive(Default)]
struct Patience(DefaultBackoff);

impl Patience {
    const LONGEST: Duration = Duration::from_secs(5);
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0.next()?.min(Self::LONGEST))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Which lists of objects have been told.
#[derive(Clone)]
struct Told {
    lists: Arc<Semaphore>,
    all: u32,
}

impl Told {
    /// Waits for all of them.
    async fn all(&self) {
        // They go back with the permit, for whoever else waits. Nobody closes it.
        drop(self.lists.acquire_many(self.all).await);
    }
}

async fn resources(api: Api<ModelRollout>, source: Source, told: Told, changes: Sender<Change>) {
    told.all().await;
    let mut there = BTreeSet::new();
    let mut stream = watch(api, watcher::Config::default())
        .backoff(Patience::default())
        .boxed();
    while let Some(event) = next(&mut stream, "ModelRollout").await {
        let change = match event {
            Event::Init => {
                there = BTreeSet::new();
                continue;
            }
            Event::InitApply(resource) => {
                there.extend(name(&resource));
                Change::Resource(Box::new(resource))
            }
            Event::Apply(resource) => Change::Resource(Box::new(resource)),
            Event::Delete(resource) => match name(&resource) {
                Some(name) => Change::ResourceGone(name),
                None => continue,
            },
            Event::InitDone => Change::Complete(
                source.clone(),
                Present::Resources(std::mem::take(&mut there)),
            ),
        };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

async fn objects(
    api: Api<DynamicObject>,
    kind: Kind,
    source: Source,
    told: Told,
    changes: Sender<Change>,
) {
    let mut there = BTreeSet::new();
    let mut first = Some(told.lists);
    // Of subsets only our own matter.
    let config = match kind {
        Kind::DestinationRule => watcher::Config::default().labels(&routes::ours()),
        _ => watcher::Config::default(),
    };
    let mut stream = watch(api, config).backoff(Patience::default()).boxed();
    while let Some(event) = next(&mut stream, kind.name()).await {
        let change = match event {
            Event::Init => {
                there = BTreeSet::new();
                continue;
            }
            Event::InitApply(object) => {
                let Some(id) = id(kind, &object) else {
                    continue;
                };
                there.insert(id.clone());
                changed(id, object)
            }
            Event::Apply(object) => match id(kind, &object) {
                Some(id) => changed(id, object),
                None => continue,
            },
            Event::Delete(object) => match id(kind, &object) {
                Some(id) => Change::ObjectGone(id),
                None => continue,
            },
            Event::InitDone => {
                let there = Present::Objects(std::mem::take(&mut there));
                let complete = Change::Complete(source.clone(), there);
                if changes.send(complete).await.is_err() {
                    return;
                }
                if let Some(told) = first.take() {
                    told.add_permits(1);
                }
                continue;
            }
        };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

async fn next<K>(
    stream: &mut (impl futures::Stream<Item = watcher::Result<Event<K>>> + Unpin),
    what: &str,
) -> Option<Event<K>> {
    loop {
        match stream.try_next().await {
            Ok(event) => return event,
            Err(error) => {
                let error = crate::driver::chain(&error);
                tracing::warn!(what, error, "a watch broke off; it begins anew");
            }
        }
    }
}

fn changed(id: ObjectId, object: DynamicObject) -> Change {
    Change::Object(id, Box::new(value(object)))
}

/// Without what only the server needs, which is more than the rest.
#[must_use]
pub fn value(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}

fn id(kind: Kind, object: &DynamicObject) -> Option<ObjectId> {
    Some(ObjectId {
        kind,
        namespace: object.metadata.namespace.clone()?,
        name: object.metadata.name.clone()?,
    })
}

fn name(resource: &ModelRollout) -> Option<RolloutName> {
    Some(RolloutName {
        namespace: resource.metadata.namespace.clone()?,
        name: resource.metadata.name.clone()?,
    })
}
