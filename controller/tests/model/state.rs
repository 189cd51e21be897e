//! A state of the system, and what can be said of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serin_controller::cluster::object::Kind;
use serin_controller::rollout::{Outcome, Release};

use super::controller::Controller;
use super::server::Thing;
use super::world::{self, Turn, World};

/// Length of a cell in seconds; a round is one cell.
pub(crate) const CELL: i64 = 10;

/// A state of the system.
#[derive(Clone)]
pub(crate) struct State {
    /// What happens next.
    pub(crate) turn: Turn,
    /// Deviations that are still allowed.
    pub(crate) left: u8,
    /// Rounds without one.
    pub(crate) calm: u8,
    /// What people have done, by position.
    pub(crate) done: usize,
    /// Everything but the controllers.
    pub(crate) world: World,
    /// Who leads.
    pub(crate) leader: Option<Controller>,
    /// Who led before and goes on.
    pub(crate) old_leader: Option<Controller>,
    /// Stands for all of it.
    pub(crate) digest: u64,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest.hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = self
            .release()
            .map(|it| (it.stage, it.outcome, it.weight(), it.evidence.next_cell));
        let config = self.world.config();
        let generation = config.as_ref().map(|it| it.generation);
        let proxies = self.world.proxies.iter().map(|proxy| {
            let config = proxy.as_ref().map(|it| &*it.config);
            (config.map(|it| it.generation), world::weight(config))
        });
        write!(
            f,
            "{:?} at {} s: status {stage:?} (version {}), plugin {:?} at {}, proxies {:?}, cells {:?}, late {}",
            self.turn,
            self.now().as_second(),
            self.world.server.resource.version(),
            generation,
            world::weight(config.as_ref()),
            proxies.collect::<Vec<_>>(),
            self.world.cells,
            self.world.late.len(),
        )
    }
}

impl State {
    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        let cells = i64::try_from(self.world.cells.len()).expect("few");
        Timestamp::from_second(cells * CELL).expect("soon")
    }

    /// The release as it is persisted.
    pub(crate) fn release(&self) -> Option<&Release> {
        self.world.server.state()?.release.as_ref()
    }

    /// How it ended.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.release()?.outcome
    }

    /// Whether the resource is there no more, and where its release was when that was written last.
    pub(crate) fn gone(&self) -> Option<Option<&Release>> {
        let resource = &self.world.server.resource;
        if resource.now().is_some() {
            return None;
        }
        let before = resource.before().and_then(|(_, before)| before);
        let state = before.and_then(|before| before.state.as_ref());
        Some(state.and_then(|state| state.release.as_ref()))
    }

    /// What the watch has not told a controller yet.
    pub(crate) fn news(&self, controller: &Controller) -> Vec<Thing> {
        let server = &self.world.server;
        let seen = |thing: &Thing| controller.told.get(thing).copied().unwrap_or(0);
        let things = server.things().into_iter();
        things
            .filter(|thing| server.version(thing) > seen(thing))
            .collect()
    }

    /// Where everybody is: weight of the new version at the proxies and on the server, and the default route.
    pub(crate) fn is_at_live(&self) -> bool {
        let proxies = self.world.proxies.iter().flatten();
        let on_server = self.world.config();
        proxies
            .map(|it| &*it.config)
            .chain(&on_server)
            .all(|it| world::weight(Some(it)) == 0)
            && !world::led_to(self.world.object(Kind::VirtualService), None)
                .contains(&"v8".to_owned())
    }

    /// With its digest.
    pub(crate) fn sealed(mut self) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.turn, self.left, self.calm, self.done).hash(&mut hasher);
        self.world.hash(&mut hasher);
        for controller in [&self.leader, &self.old_leader] {
            controller
                .as_ref()
                .map(Controller::digest)
                .hash(&mut hasher);
        }
        self.digest = hasher.finish();
        self
    }
}
