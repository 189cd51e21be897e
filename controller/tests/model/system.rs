//! The system as stateright explores it: rounds in a fixed order of turns, and a few deviations from it anywhere.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use serin_controller::cells::Grid;
use serin_controller::cluster::fleet::{Mode, Settings};
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::plugin::Module;
use serin_controller::driver::World as Seen;
use serin_controller::observation::Proxy;
use serin_controller::prometheus::{Row, counts};
use serin_controller::rollout::{Outcome, Stage};
use serin_controller::source::parse;
use serin_filter_core::stat;
use stateright::{Model, Property};

use super::controller::{Controller, Fate, Fault, News};
use super::server::{Server, Thing};
use super::world::{self, Line, PROMISES, Rules, Turn, World};

/// Length of a cell in seconds; a round is one cell.
const CELL: i64 = 10;
/// Rounds without any deviation after which things are as they should be.
pub const CALM: u8 = 4;

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Everybody back to live.
    Abort,
    /// Once more after a rollback.
    Retry,
    /// To the next stage without evidence.
    Promote,
    /// The resource goes.
    Delete,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Clock,
    /// A person does something.
    Do(Deed),
    /// Somebody becomes leader and reads everything. `stale`: the list of resources is an old one.
    Elect {
        /// See above.
        stale: bool,
    },
    /// Nobody leads in this round.
    NobodyLeads,
    /// The leader's round.
    Look(Option<Fault>),
    /// The leader does nothing in this round.
    Dawdle,
    /// The leader is killed.
    Crash,
    /// The leader's Lease ends, and it does not notice.
    Depose,
    /// Whoever led before goes on writing.
    OldLeaderWrites,
    /// A late write arrives.
    Arrive(usize),
    /// A proxy takes its config, or does not.
    Take(bool),
    /// The watch tells everything that is new, but for one thing, and the leader acts on it.
    Tell {
        /// What it is late with.
        but: Option<Thing>,
        /// A write that does not fare well.
        fault: Option<Fault>,
    },
    /// The watch tells again what was before.
    TellAgain(Thing),
}

/// A state of the system.
#[derive(Clone)]
pub struct State {
    /// What happens next.
    pub turn: Turn,
    /// Deviations that are still allowed.
    pub left: u8,
    /// Rounds without one.
    pub calm: u8,
    /// What people have done, by position.
    pub done: usize,
    /// Everything but the controllers.
    pub world: World,
    /// Who leads.
    pub leader: Option<Controller>,
    /// Who led before and goes on.
    pub old_leader: Option<Controller>,
    digest: u64,
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
        let stage = self.world.server.state().and_then(|it| it.release.as_ref());
        let stage = stage.map(|it| (it.stage, it.outcome, it.weight(), it.evidence.next_cell));
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
    fn now(&self) -> Timestamp {
        let cells = i64::try_from(self.world.cells.len()).expect("few");
        Timestamp::from_second(cells * CELL).expect("soon")
    }

    /// How the release ended, by what is persisted.
    pub fn outcome(&self) -> Option<Outcome> {
        self.world.server.state()?.release.as_ref()?.outcome
    }

    /// Where everybody is: weight of the new version at the proxies and on the server, and the default route.
    pub fn is_at_live(&self) -> bool {
        let proxies = self.world.proxies.iter().flatten();
        let on_server = self.world.config();
        proxies
            .map(|it| &*it.config)
            .chain(&on_server)
            .all(|it| world::weight(Some(it)) == 0)
            && !world::led_to(self.world.object(Kind::VirtualService), None)
                .contains(&"v8".to_owned())
    }

    fn sealed(mut self) -> Self {
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

/// What is explored.
#[derive(Clone, Debug)]
pub struct System {
    /// Whether every answer of the new version is bad.
    pub bad: bool,
    /// Rounds.
    pub rounds: usize,
    /// Deviations.
    pub deviations: u8,
    /// What people do, in this order, each at any time or never.
    pub deeds: Vec<Deed>,
    /// How things are broken.
    pub rules: Rules,
    settings: Settings,
    spec: Value,
}

impl System {
    /// As things are.
    pub fn new(bad: bool, rounds: usize, deviations: u8, deeds: &[Deed]) -> Self {
        let source = parse("fraud.yaml", include_str!("fraud.yaml")).expect("a valid file");
        let cell = Duration::from_secs(CELL.unsigned_abs());
        Self {
            bad,
            rounds,
            deviations,
            deeds: deeds.to_vec(),
            rules: Rules::default(),
            settings: Settings {
                mode: Mode::Mesh,
                root_namespace: "istio-system".to_owned(),
                kind: Kind::WasmPlugin,
                module: Module {
                    url: "oci://filter".to_owned(),
                    ..Module::default()
                },
                grid: Grid::new(cell, Duration::ZERO).expect("a grid"),
                encoding: stat::Encoding::Istio,
                max_releases: None,
            },
            spec: serde_json::to_value(&source.rollout.spec).expect("it is JSON"),
        }
    }

    /// The same, broken.
    pub fn broken(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// What Prometheus says to a controller.
    fn seen(&self, controller: &Controller, state: &State) -> Seen {
        let asks = controller.fleet.asks();
        let Some(first) = asks.iter().map(|ask| ask.next_cell).min() else {
            return Seen::default();
        };
        let newest = state.world.config().map(|config| config.generation);
        let proxies = state
            .world
            .proxies
            .iter()
            .enumerate()
            .map(|(number, proxy)| Proxy {
                target: number.to_string(),
                namespace: None,
                up: true,
                generation: match proxy {
                    _ if self.rules.hasty_proxies => newest,
                    Some(proxy) => Some(proxy.config.generation),
                    None => None,
                },
                invalid: false,
            });
        let cells = (0..)
            .zip(&state.world.cells)
            .filter(|(index, _)| *index >= first);
        let cells = cells.map(|(index, (canary, stable))| {
            let seen = self.bad && !self.rules.unseen_failures;
            let bad = if seen { *canary } else { 0 };
            let mut rows = rows("8", *canary, bad);
            rows.extend(rows_of_stable(*stable));
            (index, counts(&rows))
        });
        Seen::of(cells, Some(Ok(Arc::new(proxies.collect()))))
    }

    fn look(&self, state: &mut State, controller: &mut Controller, fault: Option<Fault>) -> Round {
        let now = state.now();
        let seen = self.seen(controller, state);
        Arc::make_mut(&mut controller.fleet).tick(&seen, now);
        Self::perform(self.rules, &mut state.world, controller, fault, now)
    }

    fn perform(
        rules: Rules,
        world: &mut World,
        controller: &mut Controller,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Round {
        let mut line = Line::new(world, rules, fault);
        line.perform(controller, now);
        Round {
            sent: line.sent,
            dead: line.dead,
        }
    }

    fn tell(
        &self,
        state: &mut State,
        controller: &mut Controller,
        but: Option<&Thing>,
        fault: Option<Fault>,
    ) -> Round {
        let now = state.now();
        for thing in news(state, controller) {
            if but == Some(&thing) {
                continue;
            }
            let seen = controller.told.get(&thing).copied().unwrap_or(0);
            for (version, news) in News::of(&state.world.server, &thing, seen) {
                controller.hear(&thing, version, &news, now);
            }
        }
        Arc::make_mut(&mut controller.fleet).answer(now);
        Self::perform(self.rules, &mut state.world, controller, fault, now)
    }

    fn elect(&self, state: &State, stale: bool) -> Option<Controller> {
        let mut controller = Controller::new(&self.settings);
        let server = &state.world.server;
        // Objects first: what is live may be for the routes to say.
        for thing in server.things() {
            let newest = News::of(server, &thing, 0).pop();
            let told = if thing == Thing::Resource && stale {
                Some(News::before(server, &thing)?)
            } else {
                newest.map(|(version, news)| (version, self.misread(server, &thing, news)))
            };
            let Some((version, news)) = told else {
                continue;
            };
            if !matches!(news, News::Gone) {
                controller.hear(&thing, version, &news, state.now());
            }
            controller.told.insert(thing, version);
        }
        Some(controller)
    }

    /// What a broken controller makes of the resource.
    fn misread(&self, server: &Server, thing: &Thing, news: News) -> News {
        let News::Resource(stored) = &news else {
            return news;
        };
        let mut stored = (**stored).clone();
        if self.rules.stale_status
            && let Some((_, News::Resource(before))) = News::before(server, thing)
        {
            stored.resource.status.clone_from(&before.resource.status);
            return News::Resource(Arc::new(stored));
        }
        if self.rules.recount
            && let Some(status) = &mut stored.resource.status
            && let Some(text) = &mut status.checkpoint
        {
            let mut state: Value = serde_json::from_str(text).expect("a checkpoint");
            let next = &mut state["release"]["evidence"]["nextCell"];
            *next = json!(next.as_i64().unwrap_or(1) - 1);
            *text = state.to_string();
            return News::Resource(Arc::new(stored));
        }
        news
    }

    fn can_be_done(&self, state: &State) -> Option<Deed> {
        let deed = *self.deeds.get(state.done)?;
        state.world.server.resource.now()?;
        let possible = match deed {
            Deed::Retry => state.outcome() == Some(Outcome::RolledBack),
            Deed::Abort | Deed::Promote => state.world.server.state()?.in_progress().is_some(),
            Deed::Delete => true,
        };
        possible.then_some(deed)
    }
}

/// What became of a round's writes.
struct Round {
    sent: usize,
    dead: bool,
}

fn rows_of_stable(total: u64) -> Vec<Row> {
    rows("7", total, 0)
}

fn rows(version: &str, total: u64, bad: u64) -> Vec<Row> {
    let row = |counter: &str, group: &str, count: u64| {
        let labels = [
            ("counter", counter),
            (stat::ROLLOUT, "ml/fraud"),
            (stat::VERSION, version),
            (stat::GROUP, group),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Row {
            metric: BTreeMap::from(labels),
            value: (0.0, count.to_string()),
        }
    };
    let mut found = Vec::new();
    for group in 0..16 {
        let group = group.to_string();
        found.push(row(stat::SPLIT_TOTAL, &group, total / 16));
        found.push(row(stat::SPLIT_BAD_TOTAL, &group, bad / 16));
    }
    found.push(row(stat::SAMPLED_TOTAL, "", total / 64));
    found
}

/// What the watch has not told a controller yet.
fn news(state: &State, controller: &Controller) -> Vec<Thing> {
    let things = state.world.server.things().into_iter();
    let seen = |thing: &Thing| controller.told.get(thing).copied().unwrap_or(0);
    things
        .filter(|thing| state.world.server.version(thing) > seen(thing))
        .collect()
}

fn faults(writes: usize, actions: &mut Vec<Action>, action: impl Fn(Fault) -> Action) {
    for at in 0..writes {
        for fate in [Fate::Lost, Fate::AnswerLost, Fate::Late, Fate::Crash] {
            // To be killed before the first is to be killed before the round.
            if fate != Fate::Crash || at > 0 {
                actions.push(action(Fault { at, fate }));
            }
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = State {
            turn: Turn::Look,
            left: self.deviations,
            calm: 0,
            done: 0,
            world: World {
                server: Server::new(self.spec.clone()),
                proxies: vec![None; 2],
                cells: Vec::new(),
                late: Vec::new(),
                ceiling: 0,
                may_lead: false,
                broken: 0,
            },
            leader: None,
            old_leader: None,
            digest: 0,
        };
        vec![state.sealed()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let free = state.left > 0;
        let arrivals = || (0..state.world.late.len()).map(Action::Arrive);
        match (state.turn, &state.leader) {
            (Turn::Clock, _) if state.world.cells.len() >= self.rounds => {}
            (Turn::Clock, _) => {
                actions.push(Action::Clock);
                actions.extend(self.can_be_done(state).map(Action::Do));
            }
            (Turn::Look, None) => {
                actions.extend(arrivals());
                actions.push(Action::Elect { stale: false });
                if free {
                    actions.push(Action::NobodyLeads);
                    if self.rules.stale_lists {
                        actions.push(Action::Elect { stale: true });
                    }
                }
            }
            (Turn::Look, Some(leader)) => {
                actions.extend(arrivals());
                actions.push(Action::Look(None));
                if free {
                    let (mut after, mut leader) = (state.clone(), leader.clone());
                    let writes = self.look(&mut after, &mut leader, None).sent;
                    faults(writes, actions, |fault| Action::Look(Some(fault)));
                    actions.extend([Action::Dawdle, Action::Crash, Action::Depose]);
                }
                if free && state.old_leader.is_some() {
                    actions.push(Action::OldLeaderWrites);
                }
            }
            (Turn::Take(proxy), _) => {
                if proxy == 0 {
                    actions.extend(arrivals());
                }
                actions.push(Action::Take(true));
                if free {
                    actions.push(Action::Take(false));
                }
            }
            (Turn::Tell, leader) => {
                let tell = |but, fault| Action::Tell { but, fault };
                actions.push(tell(None, None));
                let Some(leader) = leader.as_ref().filter(|_| free) else {
                    return;
                };
                let new = news(state, leader);
                let things = state.world.server.things();
                actions.extend(things.into_iter().map(Action::TellAgain));
                if !new.is_empty() {
                    let (mut after, mut leader) = (state.clone(), leader.clone());
                    let writes = self.tell(&mut after, &mut leader, None, None).sent;
                    faults(writes, actions, |fault| tell(None, Some(fault)));
                }
                actions.extend(new.into_iter().map(|thing| tell(Some(thing), None)));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let costs = match &action {
            Action::Clock | Action::Do(_) | Action::Arrive(_) => false,
            Action::Take(taken) => !taken,
            Action::Look(fault) => fault.is_some(),
            Action::Tell { but, fault } => but.is_some() || fault.is_some(),
            Action::Elect { stale } => *stale,
            _ => true,
        };
        state.left -= u8::from(costs);
        if costs || matches!(action, Action::Do(_) | Action::Arrive(_)) {
            state.calm = 0;
        }
        match action {
            Action::Clock => {
                state.world.pass_a_cell();
                state.calm = (state.calm + 1).min(CALM);
                state.turn = Turn::Look;
            }
            Action::Do(deed) => {
                state.done += 1;
                self.do_it(&mut state, deed);
            }
            Action::Elect { stale } => {
                let mut leader = self.elect(&state, stale)?;
                self.tell(&mut state, &mut leader, Some(&Thing::Resource), None);
                state.leader = Some(leader);
            }
            Action::NobodyLeads | Action::Dawdle => state.turn = Turn::Take(0),
            Action::Look(fault) => {
                let mut leader = state.leader.take()?;
                let line = self.look(&mut state, &mut leader, fault);
                state.leader = Some(leader).filter(|_| !line.dead);
                state.turn = Turn::Take(0);
            }
            Action::Crash => state.leader = None,
            Action::Depose => state.old_leader = state.leader.take(),
            Action::OldLeaderWrites => {
                let mut old = state.old_leader.take()?;
                self.look(&mut state, &mut old, None);
                state.old_leader = Some(old);
            }
            Action::Arrive(which) => {
                let (_, write) = state.world.late.remove(which);
                let _ = state.world.take(&write, self.rules);
            }
            Action::Take(taken) => {
                let Turn::Take(proxy) = state.turn else {
                    return None;
                };
                if taken && !(self.rules.deaf_proxy && proxy == 1) {
                    state.world.give(proxy);
                }
                let last = proxy + 1 == state.world.proxies.len();
                state.turn = if last {
                    Turn::Tell
                } else {
                    Turn::Take(proxy + 1)
                };
            }
            Action::Tell { but, fault } => {
                state.turn = Turn::Clock;
                if let Some(mut leader) = state.leader.take() {
                    let mut line = Round {
                        sent: 0,
                        dead: false,
                    };
                    if !news(&state, &leader).is_empty() {
                        line = self.tell(&mut state, &mut leader, but.as_ref(), fault);
                    }
                    state.leader = Some(leader).filter(|_| !line.dead);
                }
            }
            Action::TellAgain(thing) => {
                let mut leader = state.leader.take()?;
                let (version, news) = News::before(&state.world.server, &thing)?;
                let known = leader.told.get(&thing).copied();
                leader.hear(&thing, version, &news, state.now());
                // After the old one comes what followed it.
                leader.told.insert(thing, version.min(known.unwrap_or(0)));
                state.leader = Some(leader);
            }
        }
        Some(state.sealed())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let kept: [fn(&Self, &State) -> bool; 9] = [
            |_, state| state.world.broken & 1 == 0,
            |_, state| state.world.broken & 2 == 0,
            |_, state| state.world.broken & 4 == 0,
            |_, state| state.world.broken & 8 == 0,
            |_, state| state.world.broken & 16 == 0,
            |_, state| state.world.broken & 32 == 0,
            |_, state| state.world.broken & 64 == 0,
            |_, state| state.world.broken & 128 == 0,
            |_, state| state.world.broken & 256 == 0,
        ];
        let mut found: Vec<_> = PROMISES
            .into_iter()
            .zip(kept)
            .map(|(name, kept)| Property::always(name, kept))
            .collect();
        found.push(Property::always(REVERTS_END_AT_LIVE, |_, state| {
            let gone = state.world.server.resource.now().is_none();
            let reverted = state.outcome() == Some(Outcome::RolledBack) || gone;
            let calm = state.calm >= CALM && state.turn == Turn::Clock;
            !(reverted && calm) || gone || state.is_at_live()
        }));
        found.push(Property::always(
            SAME_DECISION,
            |system, state| match state.outcome() {
                Some(Outcome::Succeeded) => !system.bad,
                Some(Outcome::RolledBack) => system.bad || state.done > 0,
                _ => true,
            },
        ));
        found.push(Property::always(NOTHING_STANDS_STILL, |system, state| {
            let over = state.turn == Turn::Clock && state.world.cells.len() >= system.rounds;
            let gone = state.world.server.resource.now().is_none();
            !(over && state.calm >= CALM) || gone || state.outcome().is_some()
        }));
        if self.bad || self.deeds.contains(&Deed::Abort) {
            found.push(Property::sometimes(ROLLS_BACK, |_, state| {
                state.outcome() == Some(Outcome::RolledBack) && state.is_at_live()
            }));
        }
        if !self.bad {
            found.push(Property::sometimes(SUCCEEDS, |_, state| {
                state.outcome() == Some(Outcome::Succeeded)
            }));
        }
        if self.deeds.contains(&Deed::Delete) {
            found.push(Property::sometimes(IS_CLEANED_UP, |_, state| {
                state.world.server.resource.now().is_none() && state.world.config().is_some()
            }));
        }
        found
    }
}

/// Names of the other properties.
pub const REVERTS_END_AT_LIVE: &str = "every revert ends at live";
/// See there.
pub const SAME_DECISION: &str = "the decision is that of the undisturbed run";
/// See there.
pub const NOTHING_STANDS_STILL: &str = "the release ends when it is left alone";
/// See there.
pub const ROLLS_BACK: &str = "a release rolls back";
/// See there.
pub const SUCCEEDS: &str = "a release succeeds";
/// See there.
pub const IS_CLEANED_UP: &str = "a deleted rollout is cleaned up";

impl System {
    fn do_it(&self, state: &mut State, deed: Deed) {
        let now = state.now();
        let what = match deed {
            Deed::Delete => {
                state.world.server.delete_resource(now);
                return;
            }
            Deed::Abort => "abort",
            Deed::Retry => "retry",
            Deed::Promote => "promote",
        };
        let id = state.done.to_string();
        let action = json!({"id": id, "do": what, "by": "ann", "why": "model"}).to_string();
        state.world.server.edit(|resource| {
            let annotations = resource.metadata.annotations.get_or_insert_default();
            annotations.insert(serin_controller::cluster::names::ACTION.to_owned(), action);
        });
    }

    /// The run without any deviation, state by state.
    pub fn undisturbed(&self) -> Vec<State> {
        let mut states = self.init_states();
        while let Some(last) = states.last() {
            let mut actions = Vec::new();
            self.actions(last, &mut actions);
            let Some(action) = actions.into_iter().next() else {
                break;
            };
            let next = self.next_state(last, action).expect("it can be done");
            states.push(next);
        }
        states
    }

    /// Whether a state has a stage.
    pub fn is_in(state: &State, stage: Stage) -> bool {
        let release = state
            .world
            .server
            .state()
            .and_then(|it| it.release.as_ref());
        release.is_some_and(|release| release.stage == stage)
    }
}
