//! Whether every version gets the share that the weights say (statistics 3 and 7.9): a wrong split says that the evidence
//! is not to be trusted. It holds a release where it is, and rolls nothing back.
//!
//! Units that are independent are counted, in cells that lie wholly after every proxy had the present weights:
//! * requests without a key, each drawn anew: [`ToleratedTilt`], for every version against all others;
//! * users, by the totals of their hash groups: [`GroupSplit`];
//! * and a version that gets nothing at all for [`IDLE_CELLS`] cells, whatever it got before.
//!
//! What a fuse sent home was drawn for its version, and counts for it: whoever left it out would see a wrong split wherever
//! a fuse works. Rules and overrides take the same kind of users from all versions, and are not of the cohort counted here.
//!
//! **Level.** Each change of the weights begins a new phase with counts of its own, and phase `j` spends `1 / (j (j + 1))`
//! of a release's level, which sums up to all of it. The requests' evidence is an e-process, so a release of any number
//! of looks raises a false alarm with probability at most `1 / ALARM`. Users are frozen, so all looks of a phase are
//! nearly one; on users split perfectly 60 looks together rejected at most twice as often as one may. Their nominal level
//! is a fifth of that of the requests ([`LOOKS`]).
//!
//! **An alarm** starts the counts afresh. It ends when half as much traffic as raised it, or one of 4 000 requests (or
//! users) on the smaller side, shows no sign of a wrong split; until then the counts start afresh again and again, so
//! what was mended is seen as mended without anybody's doing. Beyond weights of 0 and 100 % there is nothing to test.
//!
//! Not seen: requests that last longer than a change of the weights takes count when they end, for the version that they
//! were drawn for under the weights before. They are the same share of both, and too few to matter where a request is
//! shorter than a phase.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serin_filter_core::split::BUCKETS;

use crate::evidence::thousands;
use crate::observation::{ArmCounts, Cell, GROUP_COUNT};
use crate::stats::srm::{ALARM, ENOUGH_USERS, GroupSplit, ToleratedTilt, effective_users};
use crate::stats::user_mix::{GROUPS, t_quantile};

/// A share this much off, as part of the weight, is none.
const TOLERANCE: f64 = 0.1;
/// What the looks of a phase cost: the users' level is this part of the requests'.
const LOOKS: f64 = 0.2;
/// Cells in a row without a request of a version before that can be an alarm.
const IDLE_CELLS: u32 = 3;
/// And requests and users that a version was to have got in them at least. Luck leaves it without any with probability
/// `exp(-40)`; where the groups' totals make the users seem four times as many as they are, which they do in one of a
/// thousand cases, with `exp(-10)`.
const IDLE_EXPECTED: f64 = 40.0;
/// Requests or users on the smaller side that are enough to end an alarm, whatever it took to raise it: a tenth more or
/// less is six standard deviations of them.
const CLEAR_AT: f64 = 4_000.0;
/// Standard deviations beyond the tolerance from which on a share is no sign of an end.
const CLEAR_BELOW: f64 = 2.0;

/// Requests of a version by hash group; the last entry are those without a key.
type Requests = [u64; GROUP_COUNT + 1];

/// The counts of the present phase, and what they came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitWatch {
    /// Nothing is tested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    off: bool,
    /// Number of the phase, from 1.
    phase: u32,
    /// When every proxy had its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// Its weights by version, the stable one first, of 10 000.
    weights: Vec<u16>,
    /// Its requests by version.
    requests: Vec<Requests>,
    /// By version, what passed since its last request.
    idle: Vec<Idle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarm: Option<SplitAlarm>,
}

/// Cells without a request of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Idle {
    cells: u32,
    /// What the others got in them.
    others: Requests,
}

/// What was counted when the split was found to be wrong, or when it was last seen to be so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SplitAlarm {
    /// Position of the version, the stable one's is 0.
    version: usize,
    /// What was counted.
    units: Units,
    /// Its requests.
    seen: u64,
    /// Everybody's.
    all: u64,
    /// Its weight, of 10 000.
    weight: u16,
    /// Units expected on the smaller side before a share can end the alarm.
    clear_at: f64,
}

/// What is drawn independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Units {
    /// Each request.
    Requests,
    /// Each user, with all requests.
    Users,
}

impl Units {
    fn of(self, requests: &Requests) -> u64 {
        match self {
            Self::Users => requests.iter().take(GROUP_COUNT).sum(),
            Self::Requests => requests.last().copied().unwrap_or(0),
        }
    }
}

/// The share of one version by one kind of units.
struct Share {
    version: usize,
    units: Units,
    seen: u64,
    all: u64,
    /// Units on the smaller side.
    expected: f64,
    /// Standard deviations beyond the tolerance.
    beyond: f64,
}

impl SplitWatch {
    /// A watch that tests nothing, for counts of which nobody knows how they were split.
    #[must_use]
    pub(crate) fn off() -> Self {
        Self {
            off: true,
            ..Self::default()
        }
    }

    /// Whether nothing was counted yet.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The cells of the phase will be read again.
    pub(super) fn forget_counts(&mut self) {
        self.since = None;
    }

    /// Whether the split is known to be wrong.
    #[must_use]
    pub fn is_alarmed(&self) -> bool {
        self.alarm.is_some()
    }

    /// Takes a cell. `since`: every proxy has the present weights since then; the caller has checked that the cell began no
    /// earlier. `weights` by version, the stable one first, of 10 000.
    pub(super) fn consume(&mut self, since: Timestamp, weights: &[u16], cell: &Cell) {
        if self.off {
            return;
        }
        if self.since != Some(since) || self.weights != weights {
            self.begin(since, weights);
        }
        let arms: Vec<_> = std::iter::once(&cell.stable).chain(&cell.arms).collect();
        let counted: Vec<Requests> = arms.into_iter().map(requests).collect();
        let cell_sum = sum(&counted);
        if cell_sum.iter().all(|count| *count == 0) {
            return;
        }
        for ((total, idle), counts) in self.requests.iter_mut().zip(&mut self.idle).zip(&counted) {
            add(total, counts);
            if counts.iter().any(|count| *count > 0) {
                *idle = Idle::default();
            } else {
                idle.cells = idle.cells.saturating_add(1);
                add(&mut idle.others, &cell_sum);
            }
        }
        self.judge();
    }

    fn begin(&mut self, since: Timestamp, weights: &[u16]) {
        if let Some(alarm) = &mut self.alarm
            && self.weights != weights
        {
            // At another weight a fault looks different; it may take more traffic than there is to see it as well.
            alarm.clear_at = ENOUGH_USERS;
        }
        self.since = Some(since);
        self.weights = weights.to_vec();
        self.start_afresh();
        self.phase = self.phase.saturating_add(1);
        let split = |alarm: &SplitAlarm| self.split().any(|version| version == alarm.version);
        if !self.alarm.as_ref().is_some_and(split) {
            self.alarm = None;
        }
    }

    fn start_afresh(&mut self) {
        self.requests = vec![Requests::default(); self.weights.len()];
        self.idle = vec![Idle::default(); self.weights.len()];
    }

    /// Versions that some users have and others have not.
    fn split(&self) -> impl Iterator<Item = usize> + Clone {
        let weights = self.weights.iter().enumerate();
        weights
            .filter(|(_, weight)| (1..BUCKETS).contains(*weight))
            .map(|(version, _)| version)
    }

    fn judge(&mut self) {
        let Some(alarm) = &self.alarm else {
            if let Some(found) = self.find() {
                let clear_at = (found.expected / 2.0).clamp(ENOUGH_USERS, CLEAR_AT);
                self.alarm = Some(self.alarm(&found, clear_at));
                self.start_afresh();
                self.phase = self.phase.saturating_add(1);
            }
            return;
        };
        let (version, clear_at) = (alarm.version, alarm.clear_at);
        let Some(share) = self.share(version, alarm.units) else {
            return;
        };
        if share.expected < clear_at {
            return;
        }
        let wrong = self.shares().find(|share| {
            let enough = share.expected >= ENOUGH_USERS;
            enough && share.beyond > CLEAR_BELOW
        });
        self.alarm = wrong.map(|share| self.alarm(&share, clear_at));
        self.start_afresh();
    }

    fn alarm(&self, share: &Share, clear_at: f64) -> SplitAlarm {
        let Share {
            version,
            units,
            seen,
            all,
            ..
        } = *share;
        SplitAlarm {
            version,
            units,
            seen,
            all,
            weight: self.weights.get(version).copied().unwrap_or(0),
            clear_at,
        }
    }

    /// A version whose share is wrong beyond doubt.
    fn find(&self) -> Option<Share> {
        let absent = self.split().find_map(|version| self.absent(version));
        absent
            .or_else(|| self.by_requests())
            .or_else(|| self.by_users())
    }

    /// A version that gets nothing any more. Whoever is not there is drawn with probability `(1 - w)^units`.
    fn absent(&self, version: usize) -> Option<Share> {
        let idle = self.idle.get(version)?;
        let weight = self.weight(version)?;
        let (groups, ungrouped) = parts(&idle.others);
        let users = effective_users(&groups);
        let expected = weight * (users + ungrouped);
        let units = if ungrouped > users {
            Units::Requests
        } else {
            Units::Users
        };
        (idle.cells >= IDLE_CELLS && expected >= IDLE_EXPECTED).then(|| Share {
            version,
            units,
            seen: 0,
            all: units.of(&idle.others),
            expected,
            beyond: f64::INFINITY,
        })
    }

    fn by_requests(&self) -> Option<Share> {
        let evidence = self.split().filter_map(|version| {
            let share = self.share(version, Units::Requests)?;
            let mut tilt = ToleratedTilt::new(TOLERANCE).ok()?;
            let (seen, all) = (float(share.seen), float(share.all));
            tilt.update(seen, all - seen, self.weight(version)?).ok()?;
            Some((tilt.log_e(), share))
        });
        let evidence: Vec<_> = evidence.collect();
        // The mean of e-values is one, too.
        let e = evidence.iter().map(|(log_e, _)| *log_e);
        let log_e = crate::stats::log_sum_exp(e) - float(evidence.len() as u64).ln();
        let most = evidence.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b));
        most.map(|(_, share)| share)
            .filter(|_| log_e >= (ALARM / self.spends()).ln())
    }

    fn by_users(&self) -> Option<Share> {
        let versions = self.split().count().max(2) - 1;
        let tail = LOOKS / ALARM * self.spends() / (2.0 * float(versions as u64));
        let shares = self
            .split()
            .filter_map(|version| self.share(version, Units::Users));
        let most = shares
            // Inside of the tolerance there is nothing to prove.
            .filter(|share| share.expected >= ENOUGH_USERS && share.beyond > 0.0)
            .max_by(|a, b| a.beyond.total_cmp(&b.beyond))?;
        (most.beyond >= t_quantile(tail)?).then_some(most)
    }

    /// The present phase's part of the level of a release.
    fn spends(&self) -> f64 {
        let phase = f64::from(self.phase.max(1));
        1.0 / (phase * (phase + 1.0))
    }

    fn weight(&self, version: usize) -> Option<f64> {
        let weight = self.weights.get(version)?;
        Some(f64::from(*weight) / f64::from(BUCKETS))
    }

    /// Of every version that is split, by whatever sent anything.
    fn shares(&self) -> impl Iterator<Item = Share> {
        let both = move |version| {
            [Units::Requests, Units::Users]
                .into_iter()
                .filter_map(move |units| self.share(version, units))
        };
        self.split().flat_map(both)
    }

    fn share(&self, version: usize, units: Units) -> Option<Share> {
        let (weight, all) = (self.weight(version)?, sum(&self.requests));
        let own = self.requests.get(version)?;
        let ((own_groups, own_ungrouped), (groups, ungrouped)) = (parts(own), parts(&all));
        let (expected, beyond) = match units {
            Units::Users => {
                let split = GroupSplit::of(&own_groups, &groups, weight, TOLERANCE);
                let split = split.ok()??;
                (split.expected, split.t)
            }
            Units::Requests if ungrouped > 0.0 => {
                let off = (own_ungrouped - weight * ungrouped).abs();
                let beyond = off - TOLERANCE * weight * ungrouped;
                (
                    ungrouped * weight.min(1.0 - weight),
                    beyond / (ungrouped * weight * (1.0 - weight)).sqrt(),
                )
            }
            Units::Requests => return None,
        };
        Some(Share {
            version,
            units,
            seen: units.of(own),
            all: units.of(&all),
            expected,
            beyond,
        })
    }

    /// Why the release does not go up, if that is so; `versions` by position, the stable one first.
    #[must_use]
    pub fn objection(&self, versions: &[&str]) -> Option<String> {
        let alarm = self.alarm.as_ref()?;
        let version = versions.get(alarm.version).copied().unwrap_or("?");
        let units = match alarm.units {
            Units::Requests => "requests without a key",
            Units::Users => "requests of users",
        };
        Some(format!(
            "version {version} got {} of {} {units}, {} was meant: its counts cannot be trusted, so nothing goes up, and \
             nothing is rolled back for it; look for proxies with another filter or config, for requests that hang (they \
             count when they end), and for metrics of one version that Prometheus drops; this ends by itself",
            per_cent(alarm.seen, alarm.all),
            thousands(alarm.all),
            of_weight(alarm.weight),
        ))
    }

    /// Whether the split is as configured, none where that is not known, and why in one sentence; `confirmed`: since when
    /// every proxy has the present weights.
    #[must_use]
    pub fn verdict(
        &self,
        versions: &[&str],
        confirmed: Option<Timestamp>,
    ) -> (Option<bool>, String) {
        if let Some(objection) = self.objection(versions) {
            return (Some(false), objection);
        }
        if confirmed.is_none() || self.since != confirmed {
            let waiting = "no cell since every proxy has the present weights yet";
            return (None, waiting.to_owned());
        }
        if self.split().next().is_none() {
            let whole = "one version has everybody: there is no split to test";
            return (None, whole.to_owned());
        }
        let all: u64 = sum(&self.requests).iter().sum();
        let seen = self.split().filter(|version| *version > 0).map(|version| {
            let own = self.requests.get(version);
            let seen = own.map_or(0, |own| own.iter().sum());
            let weight = self.weights.get(version).copied().unwrap_or(0);
            let name = versions.get(version).copied().unwrap_or("?");
            let share = per_cent(seen, all);
            format!("version {name} got {share} at {}", of_weight(weight))
        });
        let seen = seen.collect::<Vec<_>>().join(", ");
        let seen = format!("{seen} of {} requests at these weights", thousands(all));
        let told = |version: usize| {
            let mut shares = self.shares().filter(|share| share.version == version);
            shares.any(|share| share.expected >= ENOUGH_USERS)
        };
        if self.split().all(told) {
            (Some(true), seen)
        } else {
            (
                None,
                format!("{seen}: too few users or requests to tell that from luck"),
            )
        }
    }
}

/// Requests that were drawn for a version, also those that a fuse sent home.
fn requests(arm: &ArmCounts) -> Requests {
    let mut found = arm.fused;
    let grouped = &arm.requests;
    let totals = grouped.groups.iter().chain([&grouped.ungrouped]);
    for (found, tally) in found.iter_mut().zip(totals) {
        *found = found.saturating_add(tally.total);
    }
    found
}

fn add(sum: &mut Requests, more: &Requests) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

fn sum(all: &[Requests]) -> Requests {
    all.iter().fold(Requests::default(), |mut sum, more| {
        add(&mut sum, more);
        sum
    })
}

/// Those of users by group, and those without a key.
fn parts(requests: &Requests) -> ([f64; GROUPS], f64) {
    let mut groups = [0.0; GROUPS];
    for (group, count) in groups.iter_mut().zip(requests) {
        *group = float(*count);
    }
    (groups, requests.last().copied().map_or(0.0, float))
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn per_cent(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * float(part) / float(whole.max(1)))
}

fn of_weight(weight: u16) -> String {
    format!("{} %", f64::from(weight) / 100.0)
}

#[cfg(test)]
mod tests;
