//! What Prometheus says in this tick: a constant number of queries for all rollouts together, and one more for each
//! cell that is still to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::managed::Managed;
use super::{Settings, chain};
use crate::observation::{Cell, Proxy};
use crate::prometheus::{
    Client, QueryError, RolloutCounts, cell_query, counts, guard_query, proxies, proxies_query,
};
use crate::rollout::{GuardWindow, Release, RolloutState};
use crate::validate::Plan;

/// Cells caught up in one tick at most, and the time that it may take: after a long gap the guards go on being asked.
const CATCH_UP: usize = 60;
const CATCH_UP_TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct World {
    cells: BTreeMap<i64, RolloutCounts>,
    windows: BTreeMap<Duration, RolloutCounts>,
    /// `None` when no release is in progress: nobody needs to know.
    pub(super) proxies: Option<Result<Vec<Proxy>, String>>,
}

impl World {
    pub(super) async fn look(
        client: &Client,
        settings: &Settings,
        rollouts: impl Iterator<Item = &Managed>,
        now: Timestamp,
    ) -> Self {
        let mut world = Self::default();
        let active: Vec<_> = rollouts
            .filter_map(|managed| Some((managed.state.in_progress()?, managed.plan.as_ref()?)))
            .collect();
        if !active.is_empty() {
            let found = world.ask(client, settings, &active, now).await;
            world.proxies = Some(found.map_err(|error| chain(&error)));
        }
        world
    }

    /// Guards first: they are what must not wait. What was read before an error stays read.
    async fn ask(
        &mut self,
        client: &Client,
        settings: &Settings,
        active: &[(&Release, &Plan)],
        now: Timestamp,
    ) -> Result<Vec<Proxy>, QueryError> {
        let guards = active.iter().flat_map(|(_, plan)| &plan.guards);
        for window in guards.map(|guard| guard.over.0).collect::<BTreeSet<_>>() {
            let rows = client
                .query(&guard_query(&settings.selectors, window), now)
                .await?;
            self.windows.insert(window, counts(&rows));
        }
        let found = proxies(
            &client
                .query(&proxies_query(&settings.selectors), now)
                .await?,
        );
        let query = cell_query(&settings.selectors, settings.grid.cell());
        let begun = Instant::now();
        for index in wanted(active, settings.grid.readable_until(now)) {
            let rows = client.query(&query, settings.grid.end(index)).await?;
            self.cells.insert(index, counts(&rows));
            if begun.elapsed() > CATCH_UP_TIME {
                break;
            }
        }
        Ok(found)
    }

    /// The rollout's cells that were read.
    pub(super) fn cells_for(&self, state: &RolloutState) -> Vec<Cell> {
        let Some(release) = state.in_progress() else {
            return Vec::new();
        };
        let name = state.name.to_string();
        let cell = |(index, counts): (&i64, &RolloutCounts)| Cell {
            index: *index,
            canary: counts.of(&name, &release.canary.version),
            stable: counts.of(&name, &release.stable.version),
        };
        self.cells
            .range(release.evidence.next_cell..)
            .map(cell)
            .collect()
    }

    /// The rollout's guard windows, in the order of the plan.
    pub(super) fn guards_for(&self, plan: &Plan, state: &RolloutState) -> Vec<Option<GuardWindow>> {
        let Some(release) = state.in_progress() else {
            return Vec::new();
        };
        let name = state.name.to_string();
        let window = |over| {
            let arm = self.windows.get(over)?.of(&name, &release.canary.version);
            Some(GuardWindow {
                canary: arm.tally(),
                bad_sources: arm.bad_sources(),
            })
        };
        plan.guards
            .iter()
            .map(|guard| window(&guard.over.0))
            .collect()
    }
}

/// The cells to read, each release's next ones in turn, so that one that is far behind does not blind the others.
fn wanted(active: &[(&Release, &Plan)], readable_until: i64) -> Vec<i64> {
    let nexts: BTreeSet<i64> = active
        .iter()
        .map(|(release, _)| release.evidence.next_cell)
        .collect();
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

    fn release(next_cell: i64) -> Release {
        let mut release = started().1.release.unwrap();
        release.evidence.next_cell = next_cell;
        release
    }

    #[test]
    fn a_release_far_behind_does_not_blind_the_others() {
        let (old, new) = (release(0), release(99_998));
        let plan = started().0;
        let cells = wanted(&[(&old, &plan), (&new, &plan)], 100_000);
        assert_eq!(cells.len(), CATCH_UP);
        assert!(cells.contains(&99_998) && cells.contains(&99_999));
        assert!(
            (0..50).all(|index| cells.contains(&index)),
            "the one behind catches up meanwhile"
        );
    }

    #[test]
    fn nothing_is_read_before_its_time() {
        let plan = started().0;
        assert_eq!(wanted(&[(&release(10), &plan)], 10), Vec::<i64>::new());
        assert_eq!(wanted(&[(&release(10), &plan)], 12), [10, 11]);
    }
}
