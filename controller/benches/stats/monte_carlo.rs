//! Runs on all cores with fixed seeds, and what a share of them says of a promise.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::report::Report;

/// The results of `runs` runs, in order: run `i` is told `i` and draws from that alone, so that the number of cores
/// changes nothing.
pub(crate) fn all<T: Send>(runs: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= runs {
                return done;
            }
            done.push((at, run(at)));
        }
    };
    let mut done: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().unwrap();
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// When each run was decided, if it was: the look, from 1 on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided(pub(crate) Vec<Option<u32>>);

impl Decided {
    /// Share of the runs that were decided.
    pub(crate) fn share(&self) -> f64 {
        self.hits() as f64 / self.0.len().max(1) as f64
    }

    pub(crate) fn hits(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Share of the runs that were decided at this look or before.
    pub(crate) fn until(&self, look: f64) -> f64 {
        let looks = self.0.iter().flatten();
        let until = looks.filter(|at| f64::from(**at) <= look).count();
        until as f64 / self.0.len().max(1) as f64
    }

    /// The median look over all runs; none where less than half were decided.
    pub(crate) fn median(&self) -> Option<u32> {
        let mut looks: Vec<u32> = self.0.iter().map(|look| look.unwrap_or(u32::MAX)).collect();
        looks.sort_unstable();
        // The lower of the two in the middle: the look at which half of the runs were decided.
        let middle = looks.get(looks.len().saturating_sub(1) / 2).copied();
        middle.filter(|look| *look != u32::MAX)
    }

    /// Whether the share keeps below `bound`, as far as so many runs can say.
    pub(crate) fn keeps(&self, bound: f64) -> Keeps {
        if self.share() <= bound {
            Keeps::Yes
        } else if binomial_tail(self.0.len(), self.hits(), bound) > 0.01 {
            Keeps::Unclear
        } else {
            Keeps::No
        }
    }
}

/// The cell in which a promise is closest to broken.
#[derive(Default)]
pub(crate) struct Worst {
    share: f64,
    bound: f64,
    keeps: Option<Keeps>,
}

impl Worst {
    pub(crate) fn see(&mut self, decided: &Decided, bound: f64) {
        self.share = self.share.max(decided.share());
        self.bound = bound;
        self.keeps = self.keeps.max(Some(decided.keeps(bound)));
    }

    pub(crate) fn tell(&self, report: &mut Report, name: &str) {
        let keeps = self.keeps.unwrap_or(Keeps::Unclear);
        report.promise(&format!("{name}, worst"), self.share, self.bound, keeps);
    }
}

/// What runs say of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keeps {
    /// The share is not above it.
    Yes,
    /// It is above, by no more than the luck of one in a hundred of such tables would have it.
    Unclear,
    /// It is above, and that is no luck.
    No,
}

/// The chance of `hits` or more among `runs` where each has the chance `p`.
fn binomial_tail(runs: usize, hits: usize, p: f64) -> f64 {
    let mut term = (1.0 - p).powf(runs as f64);
    let mut below = 0.0;
    for hit in 0..hits {
        below += term;
        term *= (runs - hit) as f64 / (hit + 1) as f64 * p / (1.0 - p);
    }
    (1.0 - below).max(0.0)
}
