//! A controller: a real [`Fleet`] and what the watch has told it, and its wire to the server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serin_controller::cluster::fleet::{Failure, Fleet, ObjectWrite, Settings, StatusWrite};
use serin_controller::cluster::object::Kind;
use serin_controller::validate::RolloutName;

use super::server::{Answer, Resource, Server, Thing, Write};

/// What becomes of a write on its way, other than being taken and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It is taken, and nobody hears of it.
    AnswerLost,
    /// The controller gives up waiting, and it arrives later or never.
    Late,
    /// The controller is killed before it sends it, with everything after it.
    Crash,
}

/// One write that does not fare well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fault {
    /// Which of the writes of this round, from 0.
    pub(crate) at: usize,
    /// What becomes of it.
    pub(crate) fate: Fate,
}

/// A controller.
#[derive(Clone)]
pub(crate) struct Controller {
    /// What decides.
    pub(crate) fleet: Arc<Fleet>,
    /// The last version of each thing that it knows.
    pub(crate) told: BTreeMap<Thing, u64>,
}

/// Digests what is written into it.
struct Digest(DefaultHasher);

impl std::fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Controller {
    /// Knows nothing yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            fleet: Arc::new(Fleet::new(settings.clone())),
            told: BTreeMap::new(),
        }
    }

    /// Stands for everything that it remembers.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = Digest(DefaultHasher::new());
        let _ = write!(digest, "{:?}{:?}", self.fleet, self.told);
        digest.0.finish()
    }

    /// The watch tells of a thing.
    pub(crate) fn hear(&mut self, thing: &Thing, version: u64, news: &News, now: Timestamp) {
        let fleet = Arc::make_mut(&mut self.fleet);
        match (thing, news) {
            (_, News::Resource(resource)) => fleet.resource(&resource.resource, now),
            (Thing::Object(id), News::Object(object)) => {
                fleet.object(id.clone(), Some(Value::clone(object)));
            }
            (Thing::Object(id), News::Gone) => fleet.object(id.clone(), None),
            (Thing::Resource, _) => fleet.resource_gone(&RolloutName {
                namespace: "ml".to_owned(),
                name: "fraud".to_owned(),
            }),
        }
        self.told.insert(thing.clone(), version);
    }
}

/// What a watch tells of a thing.
#[derive(Clone)]
pub(crate) enum News {
    /// The resource is like this.
    Resource(Arc<Resource>),
    /// The object is like this.
    Object(Arc<Value>),
    /// It is gone.
    Gone,
}

impl News {
    /// What there is to be told of a thing after a version, in order.
    pub(crate) fn of(server: &Server, thing: &Thing, seen: u64) -> Vec<(u64, Self)> {
        fn told<T>(version: (u64, Option<&Arc<T>>), news: fn(Arc<T>) -> News) -> (u64, News) {
            (version.0, version.1.cloned().map_or(News::Gone, news))
        }
        match thing {
            Thing::Resource => {
                let versions = server.resource.after(seen);
                versions.map(|it| told(it, News::Resource)).collect()
            }
            Thing::Object(id) => {
                let versions = server.objects.get(id).into_iter();
                let versions = versions.flat_map(|versions| versions.after(seen));
                versions.map(|it| told(it, News::Object)).collect()
            }
        }
    }

    /// What was there before the newest version.
    pub(crate) fn before(server: &Server, thing: &Thing) -> Option<(u64, Self)> {
        match thing {
            Thing::Resource => {
                let (version, resource) = server.resource.before()?;
                Some((version, Self::Resource(resource?.clone())))
            }
            Thing::Object(id) => {
                let (version, object) = server.objects.get(id)?.before()?;
                Some((version, Self::Object(object?.clone())))
            }
        }
    }
}

/// Takes a write to the server.
pub(crate) trait Wire {
    /// Sends a write.
    fn send(&mut self, write: Write) -> Result<Answer, Failure>;
    /// Whether the controller was killed meanwhile.
    fn is_dead(&self) -> bool;
    /// Holds statuses back from here on, and says that they are written.
    fn hold_statuses(&mut self, hold: bool);
}

/// What `perform.rs` does with a fleet after every change and tick, in its order.
pub(crate) fn perform(fleet: &mut Fleet, wire: &mut impl Wire, now: Timestamp, plugin_first: bool) {
    if fleet.show_descents() {
        plugins(fleet, wire, now);
    }
    finalizers(fleet, wire, true, now);
    wire.hold_statuses(plugin_first);
    let first = fleet.statuses_first(now);
    statuses(fleet, wire, first, now);
    for _ in 0..3 {
        let writes = fleet.route_writes(now);
        if writes.is_empty() || wire.is_dead() {
            break;
        }
        for kind in [Kind::DestinationRule, Kind::VirtualService] {
            let of_kind = writes.iter().filter(|it| it.object.id.kind == kind);
            objects(fleet, wire, of_kind.cloned().collect(), now);
        }
    }
    plugins(fleet, wire, now);
    wire.hold_statuses(false);
    let after = fleet.statuses_after(now);
    statuses(fleet, wire, after, now);
    finalizers(fleet, wire, false, now);
}

fn plugins(fleet: &mut Fleet, wire: &mut impl Wire, now: Timestamp) {
    for (id, version) in fleet.plugins_to_delete(now) {
        let became = wire.send(Write::Delete(id.clone(), version)).map(drop);
        fleet.object_deleted(&id, became, now);
    }
    let writes = fleet.plugin_writes(now);
    objects(fleet, wire, writes, now);
}

fn statuses(fleet: &mut Fleet, wire: &mut impl Wire, writes: Vec<StatusWrite>, now: Timestamp) {
    for write in writes {
        let became = wire.send(Write::Status(Box::new(write.clone())));
        if wire.is_dead() {
            return;
        }
        fleet.status_written(&write, became.map(|it| it.version.to_string()), now);
    }
}

fn objects(fleet: &mut Fleet, wire: &mut impl Wire, writes: Vec<ObjectWrite>, now: Timestamp) {
    for write in writes {
        let id = write.object.id.clone();
        let became = wire.send(Write::Object(write));
        if wire.is_dead() {
            return;
        }
        let became = became.map(|it| it.object.expect("an object was applied"));
        fleet.object_written(&id, became, now);
    }
}

fn finalizers(fleet: &mut Fleet, wire: &mut impl Wire, wanted: bool, now: Timestamp) {
    let writes = if wanted {
        fleet.finalizers_to_add(now)
    } else {
        fleet.finalizers_to_remove(now)
    };
    for (name, version) in writes {
        let became = wire.send(Write::Finalizer(name.clone(), version, wanted));
        if wire.is_dead() {
            return;
        }
        let became = became.map(|it| (it.version.to_string(), wanted));
        fleet.finalizer_written(&name, became, now);
    }
}
