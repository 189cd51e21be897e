//! Everything there is beside the controllers, and what of it must never be seen: every write that the server takes is
//! looked at, with what the proxies have in that moment.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;
use serin_controller::cluster::fleet::Failure;
use serin_controller::cluster::object::{Kind, ObjectId};
use serin_controller::cluster::plugin;
use serin_controller::render;
use serin_controller::rollout::{Outcome, Release, RolloutState, Stage};
use serin_filter_core::config::{DEFAULT_ROUTE_HEADER, FilterConfig, RolloutConfig};

use super::controller::{Controller, Fate, Fault, Wire};
use super::server::{Answer, Server, Write, digest};

/// Index of the new version among the variants.
const CANARY: u8 = 1;
/// Rounds that a late write may be under way.
const LATEST: u8 = 3;

/// What must never be seen. The order is that of the bits in [`World::broken`].
pub(crate) const PROMISES: [&str; 9] = [
    "no cell is counted twice",
    "no weight is above that of the persisted state",
    "a stage is left with its gate proven alone",
    "a stage is left when every proxy has it",
    "a stage never goes back",
    "a rollback is never undone",
    "the default route never runs ahead of the persisted state",
    "no route leads to a subset that is not there",
    "no header is sent that no route follows",
];

/// What happens next in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Turn {
    /// Time goes on by a cell.
    Clock,
    /// The leader looks at Prometheus, decides and writes.
    Look,
    /// A proxy takes the plugin's config.
    Take(usize),
    /// The watch tells the leader what is new.
    Tell,
}

/// Requests of the new version and of the stable one in a cell.
pub(crate) type Counted = (u64, u64);

/// A proxy's config.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// What it runs.
    pub(crate) config: Arc<FilterConfig>,
    digest: u64,
}

/// What a model is told of how things are broken in it; all false: as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The server takes every write, whatever version it was computed from.
    pub(crate) blind_server: bool,
    /// The plugin is written before the status, also going up.
    pub(crate) plugin_first: bool,
    /// A new leader counts the last cell of its predecessor again.
    pub(crate) recount: bool,
    /// A new leader takes an old status for the present one.
    pub(crate) stale_status: bool,
    /// A new leader may be given an old list of the resources, version and all, as a cache would.
    pub(crate) stale_lists: bool,
    /// Prometheus says that every proxy runs what the server has.
    pub(crate) hasty_proxies: bool,
    /// The server says that it has taken a plugin, and has not.
    pub(crate) forgetful_server: bool,
    /// The routes are not written, and the server says that they are.
    pub(crate) no_routes: bool,
    /// The same for the subsets.
    pub(crate) no_subsets: bool,
    /// Failures of the new version are not counted.
    pub(crate) unseen_failures: bool,
    /// The second proxy never takes a config.
    pub(crate) deaf_proxy: bool,
}

/// A state of the model but for the controllers.
#[derive(Clone)]
pub(crate) struct World {
    /// The API server.
    pub(crate) server: Server,
    /// The proxies.
    pub(crate) proxies: Vec<Option<Proxy>>,
    /// What was counted in each cell, from cell 0.
    pub(crate) cells: Vec<Counted>,
    /// Writes that arrive later or never, and for how many rounds they have been under way.
    pub(crate) late: Vec<(u8, Write)>,
    /// What the plugin may give to the new version: what was persisted since it was last at most the present weight.
    /// A way down that could not be written yet leaves it where it was.
    pub(crate) ceiling: u16,
    /// The same for the default route.
    pub(crate) may_lead: bool,
    /// Promises that were broken, as bits.
    pub(crate) broken: u32,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.server.hash(hasher);
        for proxy in &self.proxies {
            proxy.as_ref().map(|it| it.digest).hash(hasher);
        }
        self.cells.hash(hasher);
        for (age, write) in &self.late {
            age.hash(hasher);
            digest(&format!("{write:?}")).hash(hasher);
        }
        (self.ceiling, self.may_lead, self.broken).hash(hasher);
    }
}

/// The plugin's object.
pub(crate) fn plugin_id() -> ObjectId {
    plugin::id(Kind::WasmPlugin, "istio-system")
}

/// The rollout's part of a plugin config.
fn section(config: &FilterConfig) -> Option<&RolloutConfig> {
    config.rollouts.first()
}

/// Share of the buckets that a config gives to a version that is not live.
pub(crate) fn weight(config: Option<&FilterConfig>) -> u16 {
    let section = config.and_then(section);
    let section = section.filter(|it| !it.variants[usize::from(CANARY)].live);
    section.map_or(0, |section| section.table.share(CANARY))
}

/// The same of a state.
fn state_weight(state: Option<&RolloutState>) -> u16 {
    let release = state.and_then(|state| state.release.as_ref());
    let release = release.filter(|release| !release.canary_is_live());
    release.map_or(0, |release| release.table.share(CANARY))
}

fn rank(stage: Stage) -> usize {
    match stage {
        Stage::Step(index) => index,
        Stage::Soak => 100,
        Stage::MoveDefault => 101,
        Stage::DropHeader => 102,
    }
}

/// Whether the state's default route is the new version.
fn moved(state: Option<&RolloutState>) -> bool {
    state.is_some_and(|state| state.default_route().version == "8")
}

/// Subsets that an object's routes lead to; none: those without the header alone.
pub(crate) fn led_to(routes: Option<&Value>, header: Option<&str>) -> Vec<String> {
    let routes = routes.and_then(|it| it.pointer("/spec/http")?.as_array());
    let mut found = Vec::new();
    for route in routes.into_iter().flatten() {
        let matches = route["match"].as_array();
        let wanted = matches.and_then(|it| {
            it.first()?
                .pointer(&format!("/headers/{DEFAULT_ROUTE_HEADER}/exact"))
        });
        let subset = route.pointer("/route/0/destination/subset");
        if let Some(subset) = subset.and_then(Value::as_str)
            && wanted.and_then(Value::as_str) == header
        {
            found.push(subset.to_owned());
        }
    }
    found
}

impl World {
    /// The config on the server.
    pub(crate) fn config(&self) -> Option<FilterConfig> {
        plugin::config_in(self.server.object(&plugin_id())?)
    }

    /// The object of a kind; each has one.
    pub(crate) fn object(&self, kind: Kind) -> Option<&Value> {
        let mut objects = self.server.objects.iter().filter(|(id, _)| id.kind == kind);
        Some(&**objects.next()?.1.now()?)
    }

    /// A proxy takes what the server has.
    pub(crate) fn give(&mut self, proxy: usize) {
        let object = self.server.object(&plugin_id());
        let config = object.and_then(|object| Some((plugin::config_in(object)?, object)));
        self.proxies[proxy] = config.map(|(config, object)| Proxy {
            digest: digest(&object["spec"].to_string()),
            config: Arc::new(config),
        });
    }

    /// A cell passes, with 1 600 requests at each proxy.
    pub(crate) fn pass_a_cell(&mut self) {
        let to_canary = |proxy: &Option<Proxy>| {
            let section = proxy.as_ref().and_then(|it| section(&it.config));
            let section = section.filter(|section| section.progressing);
            section.map_or(0, |it| u64::from(it.table.share(CANARY)) * 1_600 / 10_000)
        };
        let canary: u64 = self.proxies.iter().map(to_canary).sum();
        self.cells
            .push((canary, 1_600 * self.proxies.len() as u64 - canary));
        self.late.iter_mut().for_each(|(age, _)| *age += 1);
        self.late.retain(|(age, _)| *age <= LATEST);
    }

    fn see(&mut self, promise: usize, kept: bool) {
        self.broken |= u32::from(!kept) << promise;
    }

    /// The server takes a write, or refuses it.
    pub(crate) fn take(&mut self, write: &Write, rules: Rules) -> Result<Answer, Failure> {
        let forgotten = match write {
            Write::Object(write) => match write.object.id.kind {
                Kind::WasmPlugin => {
                    // What goes down is what matters.
                    let next = plugin::config_in(&write.object.object);
                    rules.forgetful_server && weight(next.as_ref()) < weight(self.config().as_ref())
                }
                Kind::DestinationRule => rules.no_subsets,
                _ => rules.no_routes,
            },
            _ => false,
        };
        if let (true, Write::Object(write)) = (forgotten, write) {
            let mut object = write.object.object.clone();
            object["metadata"]["resourceVersion"] = "1".into();
            return Ok(Answer {
                version: 1,
                object: Some(object),
            });
        }
        let before = self.clone();
        let answer = self.server.take(write, rules.blind_server)?;
        match write {
            Write::Status(_) => self.look_at_status(before.server.state()),
            Write::Finalizer(..) => {}
            Write::Object(_) | Write::Delete(..) => self.look_at_objects(&before),
        }
        Ok(answer)
    }

    /// What the persisted state allows.
    fn allow(&mut self) {
        let state = self.server.state();
        let (weight_now, most) = (weight(self.config().as_ref()), state_weight(state));
        let leads = led_to(self.object(Kind::VirtualService), None);
        let (leads, may_lead) = (leads.iter().any(|it| it == "v8"), moved(state));
        self.ceiling = if weight_now <= most {
            most
        } else {
            self.ceiling.max(most)
        };
        self.may_lead = may_lead || (self.may_lead && leads);
    }

    fn look_at_status(&mut self, before: Option<&RolloutState>) {
        self.allow();
        let Some(state) = self.server.state().cloned() else {
            return;
        };
        if let Some(release) = &state.release {
            let kept = self.is_counted_once(release);
            self.see(0, kept);
        }
        let Some((old, new)) = before
            .and_then(|before| before.release.as_ref())
            .zip(state.release.as_ref())
        else {
            return;
        };
        if old.started != new.started {
            return;
        }
        let rolled_back = |release: &Release| release.outcome == Some(Outcome::RolledBack);
        self.see(5, !rolled_back(old) || rolled_back(new));
        if rolled_back(new) || rolled_back(old) {
            return;
        }
        self.see(4, rank(new.stage) >= rank(old.stage));
        self.see(4, old.outcome.is_none() || new.outcome == old.outcome);
        self.see(4, new.evidence.next_cell >= old.evidence.next_cell);
        if rank(new.stage) > rank(old.stage) || old.outcome != new.outcome {
            let plan = serin_controller::validate::validate(&new.rollout).expect("a valid file");
            let through = rank(old.stage)..rank(new.stage).min(plan.steps.len());
            let proven = through
                .into_iter()
                .all(|step| new.evidence.passed(&plan, step));
            self.see(2, proven);
            let wanted = before.and_then(render::section);
            let has = |proxy: &Option<Proxy>| {
                proxy.as_ref().and_then(|it| section(&it.config)) == wanted.as_ref()
            };
            let all = self.proxies.iter().all(has);
            self.see(3, all);
        }
    }

    fn is_counted_once(&self, release: &Release) -> bool {
        let index = |cell: i64| usize::try_from(cell).unwrap_or(0).min(self.cells.len());
        let cells = &self.cells[index(release.first_cell)..index(release.evidence.next_cell)];
        let sums = cells
            .iter()
            .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let evidence = &release.evidence;
        (evidence.canary.requests.total, evidence.stable.total) == sums
    }

    fn look_at_objects(&mut self, before: &Self) {
        let (old, new) = (before.config(), self.config());
        let (old, new) = (weight(old.as_ref()), weight(new.as_ref()));
        self.see(1, new <= self.ceiling);
        let may_lead = self.may_lead;
        let routes = self.object(Kind::VirtualService);
        let default = led_to(routes, None);
        let followed = led_to(routes, Some("v8"));
        let default_before = led_to(before.object(Kind::VirtualService), None);
        let rules = self.object(Kind::DestinationRule);
        let subsets = rules.and_then(|rule| rule.pointer("/spec/subsets")?.as_array());
        let subsets = subsets.into_iter().flatten();
        let subsets: Vec<_> = subsets.filter_map(|it| it["name"].as_str()).collect();
        let is_there = |it: &String| subsets.contains(&it.as_str());
        let lead_somewhere = default.iter().chain(&followed).all(is_there);
        let moves = default != default_before && default.iter().any(|it| it == "v8");
        let unfollowed = new > old && !followed.iter().any(|it| it == "v8");
        self.see(6, !moves || may_lead);
        self.see(7, lead_somewhere);
        self.see(8, !unfollowed);
        self.allow();
    }
}

/// A controller's wire in one round.
pub(crate) struct Line<'a> {
    /// Where it leads.
    pub(crate) world: &'a mut World,
    /// How things are broken.
    pub(crate) rules: Rules,
    /// The write that does not fare well.
    pub(crate) fault: Option<Fault>,
    /// Writes so far.
    pub(crate) sent: usize,
    /// The controller was killed.
    pub(crate) dead: bool,
    /// What its watch need not tell it any more.
    pub(crate) known: Vec<(super::server::Thing, u64)>,
    /// Statuses that were said to be written.
    pub(crate) held: Option<Vec<Write>>,
}

impl<'a> Line<'a> {
    /// A wire on which one write does not fare well.
    pub(crate) fn new(world: &'a mut World, rules: Rules, fault: Option<Fault>) -> Self {
        Self {
            world,
            rules,
            fault,
            sent: 0,
            dead: false,
            known: Vec::new(),
            held: None,
        }
    }

    /// The controller of this wire writes what is to be written.
    pub(crate) fn perform(&mut self, controller: &mut Controller, now: jiff::Timestamp) {
        let fleet = Arc::make_mut(&mut controller.fleet);
        super::controller::perform(fleet, self, now, self.rules.plugin_first);
        // Nobody reads it, and it would make two states of one.
        let _ = fleet.drifted();
        for (thing, version) in self.known.drain(..) {
            controller.told.insert(thing, version);
        }
    }
}

impl Wire for Line<'_> {
    fn send(&mut self, write: Write) -> Result<Answer, Failure> {
        if self.dead {
            return Err(Failure::Other);
        }
        if let (Some(held), Write::Status(status)) = (&mut self.held, &write) {
            let version = status.resource_version.parse::<u64>().unwrap_or(0) + 1;
            held.push(write);
            return Ok(Answer {
                version,
                object: None,
            });
        }
        let at = self.sent;
        self.sent += 1;
        let fate = self.fault.filter(|fault| fault.at == at).map(|it| it.fate);
        match fate {
            None => {
                let answer = self.world.take(&write, self.rules)?;
                self.known.push((write.thing(), answer.version));
                Ok(answer)
            }
            Some(Fate::Lost) => Err(Failure::Other),
            Some(Fate::AnswerLost) => {
                let _ = self.world.take(&write, self.rules);
                Err(Failure::Other)
            }
            Some(Fate::Late) => {
                self.world.late.push((0, write));
                Err(Failure::Other)
            }
            Some(Fate::Crash) => {
                self.dead = true;
                Err(Failure::Other)
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.dead
    }

    fn hold_statuses(&mut self, hold: bool) {
        if hold {
            self.held = Some(Vec::new());
            return;
        }
        for write in self.held.take().into_iter().flatten() {
            let _ = self.send(write);
        }
    }
}
