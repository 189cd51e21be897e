//! What Prometheus says in this tick: a constant number of queries for all rollouts together, and one more for each
//! cell that is still to be read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::chain;
use super::managed::Managed;
use crate::api::PrometheusCounters;
use crate::cells::Grid;
use crate::observation::{ArmCounts, Cell, Grouped, Proxy, Tally};
use crate::prometheus::{
    Client, GuardCounts, QueryError, RolloutCounts, Selectors, Tallies, answers, answers_query,
    cell_query, custom, custom_query, guard_query, proxies, proxies_query, ready, ready_query,
};
use crate::rollout::{GuardWindow, Ready, Release, RolloutState};
use crate::validate::{Course, Plan, Source, VariantRef};

/// Cells caught up in one tick at most, and the time that it may take: after a long gap the guards go on being asked.
const CATCH_UP: usize = 60;
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// What of Prometheus is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Cells.
    pub grid: Grid,
    /// Which scrape targets are the proxies.
    pub selectors: &'a Selectors,
}

/// What a release in progress needs.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The next cell of its evidence; past all of them if that is counted in cells of another length.
    pub next_cell: i64,
    /// Its metrics and guards.
    pub plan: Arc<Plan>,
}

impl Ask {
    /// Of a rollout with a release in progress.
    #[must_use]
    pub fn of(managed: &Managed, grid: Grid) -> Option<Self> {
        Some(Self {
            next_cell: next_cell(managed.state.in_progress()?, grid),
            plan: managed.plan()?,
        })
    }
}

fn next_cell(release: &Release, grid: Grid) -> i64 {
    if release.is_counted_on(grid) {
        release.evidence.next_cell
    } else {
        i64::MAX
    }
}

/// The expected proxies, or why they are not known; `None`: nobody asked, for no release is in progress.
pub type Proxies = Option<Result<Arc<Vec<Proxy>>, String>>;

/// What Prometheus says in a tick.
#[derive(Debug, Default)]
pub struct World {
    cells: BTreeMap<i64, CellCounts>,
    windows: BTreeMap<Duration, GuardCounts>,
    ready: HashMap<String, u64>,
    /// All proxies.
    pub proxies: Proxies,
    /// By how much our own clock was ahead of Prometheus'.
    ahead: SignedDuration,
    /// There are cells that were not read yet.
    partial: bool,
}

/// The cells that a glance has left.
#[derive(Debug, Default)]
pub struct Cells {
    read: BTreeMap<i64, CellCounts>,
    /// Why there are no more.
    error: Option<String>,
}

/// What was read of one cell.
#[derive(Debug, Default)]
struct CellCounts {
    proxies: RolloutCounts,
    /// Of somebody else's counters, or why Prometheus does not want to say.
    custom: BTreeMap<PrometheusCounters, Result<Tallies, String>>,
    /// By cluster.
    answers: Tallies,
}

/// What the releases in progress need beside what all need.
#[derive(Debug, Default)]
struct Needs {
    custom: BTreeSet<PrometheusCounters>,
    answers: bool,
}

impl Needs {
    fn of(active: &[Ask]) -> Self {
        let mut needs = Self::default();
        for Ask { plan, .. } in active {
            needs
                .custom
                .extend(counters(plan).map(|(_, it)| it.clone()));
            needs.answers |= plan.course == Course::Copies;
        }
        needs
    }

    /// Counters that Prometheus does not want to read are not asked for again in this tick: the cells that wait for them
    /// grow in number until somebody mends the selector.
    fn give_up(&mut self, cell: &CellCounts) {
        let refused =
            |counters: &PrometheusCounters| matches!(cell.custom.get(counters), Some(Err(_)));
        self.custom.retain(|counters| !refused(counters));
    }

    /// Whether a release could make use of a cell.
    fn can_read(&self, ask: &Ask, index: i64) -> bool {
        let mut counters = counters(&ask.plan);
        ask.next_cell <= index && counters.all(|(_, it)| self.custom.contains(it))
    }
}

fn counters(plan: &Plan) -> impl Iterator<Item = (&str, &PrometheusCounters)> {
    plan.metrics
        .iter()
        .filter_map(|metric| match &metric.source {
            Source::Custom(counters) => Some((metric.name.as_str(), counters)),
            _ => None,
        })
}

impl World {
    /// Of what was read already: the proxies' counters in some cells, by index, and the proxies.
    #[must_use]
    pub fn of(cells: impl IntoIterator<Item = (i64, RolloutCounts)>, proxies: Proxies) -> Self {
        let read = |(index, proxies)| {
            let cell = CellCounts {
                proxies,
                ..CellCounts::default()
            };
            (index, cell)
        };
        Self {
            cells: cells.into_iter().map(read).collect(),
            proxies,
            ..Self::default()
        }
    }

    /// Asks Prometheus what the releases in progress need to know. Nothing is asked where there is none.
    pub async fn look(client: &Client, sight: &Sight<'_>, active: &[Ask], now: Timestamp) -> Self {
        let world = Self::glance(client, sight, active, now).await;
        if !world.is_partial() {
            return world;
        }
        world.with(Cells::read(client, sight, active, now).await)
    }

    /// The same without cells, where there are any to be read: whoever is going down must not wait for the counts of
    /// thousands.
    pub async fn glance(
        client: &Client,
        sight: &Sight<'_>,
        active: &[Ask],
        now: Timestamp,
    ) -> Self {
        let mut world = Self::default();
        if !active.is_empty() {
            let found = world.ask(client, sight, active, now).await;
            world.ahead = now.duration_since(client.time(now));
            world.proxies = Some(found.map(Arc::new).map_err(|error| chain(&error)));
            let readable = !wanted(active, sight.grid.readable_until(client.time(now))).is_empty();
            world.partial = readable && matches!(world.proxies, Some(Ok(_)));
        }
        world
    }

    /// Whether there are cells that were not read yet.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// With the cells that were read since the glance. What was read before an error stays read.
    #[must_use]
    pub fn with(self, cells: Cells) -> Self {
        Self {
            cells: cells.read,
            proxies: cells.error.map_or(self.proxies, |error| Some(Err(error))),
            partial: false,
            ..self
        }
    }

    /// Prometheus' time at our own time `now`: what a release lives by, so that a jump of our clock ends no soak.
    #[must_use]
    pub fn time(&self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.ahead).unwrap_or(now)
    }

    /// Guards first: they are what must not wait.
    async fn ask(
        &mut self,
        client: &Client,
        sight: &Sight<'_>,
        active: &[Ask],
        now: Timestamp,
    ) -> Result<Vec<Proxy>, QueryError> {
        let selectors = sight.selectors;
        let time = client.time(now);
        let guards = active.iter().flat_map(|ask| &ask.plan.guards);
        for window in guards.map(|guard| guard.over.0).collect::<BTreeSet<_>>() {
            let query = guard_query(selectors, window);
            let mut found = GuardCounts::default();
            client
                .stream_proxies(selectors, &query, time, |row| found.add(row))
                .await?;
            self.windows.insert(window, found);
        }
        let query = proxies_query(selectors);
        let found = proxies(&client.query_proxies(selectors, &query, time).await?);
        if active.iter().any(|ask| ask.plan.course == Course::Capacity) {
            let query = ready_query(selectors);
            self.ready = ready(&client.query_proxies(selectors, &query, time).await?);
        }
        Ok(found)
    }

    /// The rollout's cells that were read, up to the first one in which something that it needs was not.
    pub fn cells_for(&self, plan: Option<&Plan>, state: &RolloutState, grid: Grid) -> Vec<Cell> {
        let (Some(plan), Some(release)) = (plan, state.in_progress()) else {
            return Vec::new();
        };
        let name = state.name.to_string();
        self.cells
            .range(next_cell(release, grid)..)
            .map_while(|(index, counts)| {
                let arm = |variant| counts.arm(plan, &name, variant);
                Some(Cell {
                    index: *index,
                    stable: arm(&release.stable)?,
                    arms: release.arms().map(arm).collect::<Option<_>>()?,
                })
            })
            .collect()
    }

    /// Why there is no evidence of what the rollout needs.
    pub fn refusal_for(&self, plan: &Plan, state: &RolloutState, grid: Grid) -> Option<String> {
        let release = state.in_progress();
        if let Some(release) = release.filter(|it| !it.is_counted_on(grid)) {
            return Some(format!(
                "its evidence is counted in cells of {:?}, and this controller counts in cells of {:?}: start it with '--cell' as before until the release has ended, or abort the release",
                release.grid.cell(),
                grid.cell()
            ));
        }
        self.cells.values().find_map(|cell| {
            counters(plan).find_map(|(name, counters)| {
                let reason = cell.custom.get(counters)?.as_ref().err()?;
                Some(format!("metric {name} cannot be read: {reason}"))
            })
        })
    }

    /// The proxies of some namespaces alone.
    #[must_use]
    pub fn within(&self, scope: &[String]) -> Proxies {
        let inside = |proxy: &&Proxy| {
            let namespace = proxy.namespace.as_ref();
            namespace.is_some_and(|it| scope.contains(it))
        };
        let found = self.proxies.as_ref()?.as_ref();
        Some(match found {
            Ok(found) => Ok(Arc::new(found.iter().filter(inside).cloned().collect())),
            Err(reason) => Err(reason.clone()),
        })
    }

    /// The rollout's guard windows, by version and then in the order of the plan.
    pub fn guards_for(&self, plan: &Plan, state: &RolloutState) -> Vec<Vec<Option<GuardWindow>>> {
        let Some(release) = state.in_progress() else {
            return Vec::new();
        };
        let name = state.name.to_string();
        let window =
            |over: &Duration, version: &str| Some(self.windows.get(over)?.of(&name, version));
        let windows = |variant: &VariantRef| {
            let guards = plan.guards.iter();
            guards
                .map(|guard| window(&guard.over.0, &variant.version))
                .collect()
        };
        release.arms().map(windows).collect()
    }

    /// The rollout's ready endpoints.
    pub fn ready_for(&self, state: &RolloutState) -> Option<Ready> {
        let release = state.in_progress()?;
        let of = |variant: &VariantRef| of_cluster(&self.ready, variant).max();
        let (canary, stable) = (of(&release.canary), of(&release.stable));
        // A cluster that no proxy knows (yet) has no endpoint; if none is known, nothing is.
        canary.or(stable).map(|_| Ready {
            canary: canary.unwrap_or(0),
            stable: stable.unwrap_or(0),
        })
    }
}

impl Cells {
    /// Reads what the releases in progress need of the cells that can be read by now.
    pub async fn read(client: &Client, sight: &Sight<'_>, active: &[Ask], now: Timestamp) -> Self {
        let mut cells = Self::default();
        let mut needs = Needs::of(active);
        let begun = Instant::now();
        // By the answers to what was asked just now: our clock may have jumped since the tick before.
        let readable_until = sight.grid.readable_until(client.time(now));
        for index in wanted(active, readable_until) {
            if !active.iter().any(|ask| needs.can_read(ask, index)) {
                continue;
            }
            match read(client, sight, &needs, index).await {
                Ok(cell) => {
                    needs.give_up(&cell);
                    cells.read.insert(index, cell);
                }
                Err(error) => {
                    cells.error = Some(chain(&error));
                    break;
                }
            }
            if begun.elapsed() > CATCH_UP_TIME {
                break;
            }
        }
        cells
    }
}

/// Reads one cell.
async fn read(
    client: &Client,
    sight: &Sight<'_>,
    needs: &Needs,
    index: i64,
) -> Result<CellCounts, QueryError> {
    let (selectors, cell) = (sight.selectors, sight.grid.cell());
    let end = sight.grid.end(index);
    let query = cell_query(selectors, cell);
    let mut found = CellCounts::default();
    client
        .stream_proxies(selectors, &query, end, |row| found.proxies.add(row))
        .await?;
    if needs.answers {
        let query = answers_query(selectors, cell);
        let rows = client.query_proxies(selectors, &query, end).await?;
        found.answers = answers(&rows);
    }
    for counters in &needs.custom {
        let query = custom_query(selectors, counters, cell);
        let read = match client.query(&query, end).await {
            Ok(rows) => Ok(custom(&rows, &counters.version_label)),
            // Somebody's selector is wrong; the other rollouts need not wait for that.
            Err(
                error
                @ (QueryError::Malformed(_) | QueryError::Refused(_) | QueryError::Partial(_)),
            ) => Err(chain(&error)),
            Err(error) => return Err(error),
        };
        found.custom.insert(counters.clone(), read);
    }
    Ok(found)
}

impl CellCounts {
    /// Counts of one version; none where something was not read.
    fn arm(&self, plan: &Plan, rollout: &str, variant: &VariantRef) -> Option<ArmCounts> {
        let mut arm = self.proxies.of(rollout, &variant.version);
        if plan.course == Course::Copies {
            // Answers to copies have no users; of those to requests only the same is used.
            arm.requests = Grouped {
                ungrouped: sum(of_cluster(&self.answers, variant)),
                ..Grouped::default()
            };
        }
        for (name, counters) in counters(plan) {
            let tallies = self.custom.get(counters)?.as_ref().ok()?;
            let tally = tallies.get(&variant.version).copied().unwrap_or_default();
            arm.custom.insert(name.to_owned(), tally);
        }
        Some(arm)
    }
}

/// What is known of the clusters of a version: in the mesh there is one for each port.
fn of_cluster<T: Copy>(
    by_cluster: &HashMap<String, T>,
    variant: &VariantRef,
) -> impl Iterator<Item = T> {
    let named = variant.cluster();
    let one = by_cluster.get(&named).copied();
    let ends = variant.destination.is_some();
    let several = by_cluster
        .iter()
        .filter(move |(cluster, _)| ends && cluster.ends_with(&named))
        .map(|(_, found)| *found);
    one.into_iter().chain(several)
}

fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

/// The cells to read, each release's next ones in turn, so that one that is far behind does not blind the others.
fn wanted(active: &[Ask], readable_until: i64) -> Vec<i64> {
    let nexts: BTreeSet<i64> = active.iter().map(|ask| ask.next_cell).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for ahead in 0..CATCH_UP {
        for next in nexts.iter().rev() {
            let index = next.saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX));
            if index < readable_until && found.len() < CATCH_UP && seen.insert(index) {
                found.push(index);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::started;

    fn ask(next_cell: i64) -> Ask {
        let plan = Arc::new(started().0);
        Ask { next_cell, plan }
    }

    #[test]
    fn a_release_far_behind_does_not_blind_the_others() {
        let cells = wanted(&[ask(0), ask(99_998)], 100_000);
        assert_eq!(cells.len(), CATCH_UP);
        assert!(cells.contains(&99_998) && cells.contains(&99_999));
        assert!(
            (0..50).all(|index| cells.contains(&index)),
            "the one behind catches up meanwhile"
        );
    }

    #[test]
    fn a_selector_that_prometheus_refuses_costs_one_cell_a_tick_and_no_other_release() {
        let custom = "metrics: [{name: x, prometheus: {bad: b, total: t}}]";
        let fixture = crate::fixtures::edited(
            "falseRollback: 0.01",
            &format!("falseRollback: 0.01\n    {custom}"),
        );
        let asks = Ask {
            next_cell: 5,
            plan: Arc::new(crate::fixtures::source(&fixture).plan),
        };
        let mut needs = Needs::of(&[asks.clone(), ask(5)]);
        assert!(needs.can_read(&asks, 5) && !needs.can_read(&asks, 4));
        let (_, counters) = counters(&asks.plan).next().unwrap();
        let mut cell = CellCounts::default();
        cell.custom.insert(counters.clone(), Err("no".to_owned()));
        needs.give_up(&cell);
        assert!(!needs.can_read(&asks, 6), "its backlog is left alone");
        assert!(needs.can_read(&ask(5), 6), "the others go on");
    }

    #[test]
    fn nothing_is_read_before_its_time() {
        assert_eq!(wanted(&[ask(10)], 10), Vec::<i64>::new());
        assert_eq!(wanted(&[ask(10)], 12), [10, 11]);
    }
}
