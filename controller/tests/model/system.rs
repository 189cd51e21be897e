//! The system as stateright explores it: rounds in a fixed order of turns, and a few deviations from it anywhere.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use serin_controller::cells::Grid;
use serin_controller::cluster::fleet::{Mode, Settings};
use serin_controller::cluster::names;
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::plugin::Module;
use serin_controller::rollout::Outcome;
use serin_controller::source::parse;
use serin_filter_core::stat::Encoding;
use stateright::{Model, Property};

use super::controller::{Controller, Fate, Fault, News};
use super::prometheus;
use super::promises::{self, CALM};
use super::server::{Server, Thing};
use super::state::{CELL, State};
use super::world::{Line, Rules, Turn, World};

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
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
pub(crate) enum Action {
    /// Time goes on.
    Clock,
    /// A person does something.
    Do(Deed),
    /// Somebody becomes leader, reads everything, and writes what follows from it.
    Elect {
        /// The list of resources is an old one.
        stale: bool,
        /// A write that does not fare well.
        fault: Option<Fault>,
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

/// What is explored.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// Whether every answer of the new version is bad.
    pub(crate) bad: bool,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Deviations.
    pub(crate) deviations: u8,
    /// What people do, in this order, each at any time or never.
    pub(crate) deeds: Vec<Deed>,
    /// How things are broken.
    pub(crate) rules: Rules,
    settings: Settings,
    spec: Value,
}

impl System {
    /// As things are.
    pub(crate) fn new(bad: bool, rounds: usize, deviations: u8, deeds: &[Deed]) -> Self {
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
                encoding: Encoding::Istio,
                max_releases: None,
                watched: Vec::new(),
            },
            spec: serde_json::to_value(&source.rollout.spec).expect("it is JSON"),
        }
    }

    /// The same, broken.
    pub(crate) fn broken(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    fn look(&self, state: &mut State, controller: &mut Controller, fault: Option<Fault>) -> Round {
        let now = state.now();
        let seen = prometheus::seen(controller, &state.world, self.bad, self.rules);
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
        for thing in state.news(controller) {
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
                server: Server::new(&self.spec),
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
                let elect = |stale, fault| Action::Elect { stale, fault };
                actions.push(elect(false, None));
                if free {
                    actions.push(Action::NobodyLeads);
                    if self.rules.stale_lists {
                        actions.push(elect(true, None));
                    }
                    if let Some(mut leader) = self.elect(state, false) {
                        let mut after = state.clone();
                        let writes =
                            self.tell(&mut after, &mut leader, Some(&Thing::Resource), None);
                        faults(writes.sent, actions, |fault| elect(false, Some(fault)));
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
                let new = state.news(leader);
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
            Action::Elect { stale, fault } => *stale || fault.is_some(),
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
            Action::Elect { stale, fault } => {
                let mut leader = self.elect(&state, stale)?;
                let line = self.tell(&mut state, &mut leader, Some(&Thing::Resource), fault);
                state.leader = Some(leader).filter(|_| !line.dead);
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
                    if !state.news(&leader).is_empty() {
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
        promises::properties(self)
    }
}

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
            annotations.insert(names::ACTION.to_owned(), action);
        });
    }

    /// The run without any deviation, state by state.
    pub(crate) fn undisturbed(&self) -> Vec<State> {
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
}
