//! What Prometheus is asked, beside the loop: with every tick a glance at what must not wait, and the cells when a glance
//! finds that there are some. Thousands of cells take a while, to be read and to be counted, and glances go on meanwhile.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::metrics::Metrics;
use crate::cells::Grid;
use crate::driver::{Ask, Cells, Sight, World};
use crate::prometheus::{Client, Selectors};
use crate::validate::RolloutName;

/// Releases that are counted at a time: about the time of one write.
const AT_A_TIME: usize = 32;

/// An answer.
#[derive(Debug)]
pub(super) enum Seen {
    Glance(World),
    Cells(Cells),
}

/// Whom to ask, and for what.
#[derive(Debug, Clone)]
struct Source {
    client: Client,
    grid: Grid,
    selectors: Selectors,
}

impl Source {
    fn sight(&self) -> Sight<'_> {
        Sight {
            grid: self.grid,
            selectors: &self.selectors,
        }
    }
}

/// Looks under way, and what is left of the last ones.
#[derive(Debug)]
pub(super) struct Looks {
    source: Source,
    glances: JoinSet<World>,
    reads: JoinSet<Cells>,
    /// The newest glance since cells are being read.
    glanced: Option<World>,
    /// Releases that are still to be counted, in this world.
    uncounted: Option<(World, Vec<RolloutName>)>,
    /// What the decisions that follow from this look have taken so far.
    spent: Duration,
}

impl Looks {
    pub(super) fn new(client: Client, grid: Grid, selectors: Selectors) -> Self {
        Self {
            source: Source {
                client,
                grid,
                selectors,
            },
            glances: JoinSet::new(),
            reads: JoinSet::new(),
            glanced: None,
            uncounted: None,
            spent: Duration::ZERO,
        }
    }

    /// Takes a glance, if there is anything to ask and none is under way.
    pub(super) fn glance(&mut self, asks: Vec<Ask>) {
        if asks.is_empty() || !self.glances.is_empty() {
            return;
        }
        let source = self.source.clone();
        self.glances.spawn(async move {
            World::glance(&source.client, &source.sight(), &asks, Timestamp::now()).await
        });
    }

    fn read(&mut self, asks: Vec<Ask>) {
        let source = self.source.clone();
        self.reads.spawn(async move {
            Cells::read(&source.client, &source.sight(), &asks, Timestamp::now()).await
        });
    }

    /// The next answer, those to glances first; never, if nothing is under way.
    pub(super) async fn next(&mut self) -> Seen {
        tokio::select! {
            biased;
            Some(Ok(world)) = self.glances.join_next() => Seen::Glance(world),
            Some(Ok(cells)) = self.reads.join_next() => Seen::Cells(cells),
            else => std::future::pending().await,
        }
    }

    /// What follows from an answer.
    pub(super) fn take_in(&mut self, seen: Seen, fleet: &mut Fleet, metrics: &Metrics) {
        match seen {
            Seen::Glance(world) => {
                let begun = Instant::now();
                fleet.tick(&world, Timestamp::now());
                let took = begun.elapsed();
                if world.is_partial() && self.reads.is_empty() && !self.is_counting() {
                    self.spent = took;
                    self.read(fleet.asks());
                } else {
                    end(metrics, &world, took);
                }
                if world.is_partial() && !self.reads.is_empty() {
                    self.glanced = Some(world);
                }
            }
            Seen::Cells(cells) => {
                let world = self.glanced.take().unwrap_or_default().with(cells);
                self.uncounted = Some((world, fleet.in_progress()));
            }
        }
    }

    /// Whether cells are there that are not counted for all releases yet.
    pub(super) fn is_counting(&self) -> bool {
        self.uncounted.is_some()
    }

    /// Counts them for some releases more.
    pub(super) fn count(&mut self, fleet: &mut Fleet, metrics: &Metrics) {
        let Some((world, mut names)) = self.uncounted.take() else {
            return;
        };
        let begun = Instant::now();
        let some = names.split_off(names.len().saturating_sub(AT_A_TIME));
        fleet.tick_some(&some, &world, Timestamp::now());
        self.spent += begun.elapsed();
        if names.is_empty() {
            end(metrics, &world, self.spent);
        } else {
            self.uncounted = Some((world, names));
        }
    }
}

fn end(metrics: &Metrics, world: &World, took: Duration) {
    metrics.looked(!matches!(&world.proxies, Some(Err(_))));
    metrics.tick(took);
}
