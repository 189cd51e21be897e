//! What is remembered of one resource.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serin_filter_core::config::RolloutConfig;
use xxhash_rust::xxh3::xxh3_64;

use super::echoes::Echoes;
use super::plugins::Plugins;
use super::rollouts::Seen;
use crate::api::ModelRollout;
use crate::api::status::RolloutStatus;
use crate::cells::Grid;
use crate::cluster::conditions::reasons;
use crate::cluster::foreign::Lacking;
use crate::cluster::status::{self, Written};
use crate::driver::{Managed, World};
use crate::render::section;
use crate::rollout::{Action, Outcome, RolloutState, Writes};
use crate::validate::RolloutName;

/// Own statuses that the watch may still bring back.
const REMEMBERED: usize = 16;

/// A resource and the rollout in it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) uid: String,
    /// As last seen or written.
    pub(super) resource_version: String,
    /// Versions before it that the watch may still tell of.
    pub(super) echoes: Echoes,
    /// `metadata.generation` that was looked at last.
    pub(super) spec_generation: i64,
    /// Somebody has deleted it.
    pub(super) deleting: bool,
    pub(super) finalizer: bool,
    /// The file in it, or what is wrong with it, as long as it is not taken over.
    pub(super) file: Option<Result<ModelRollout, String>>,
    /// `None`: its spec was never valid, or its checkpoint cannot be understood.
    pub(super) managed: Option<Managed>,
    /// Asked for and not answered yet.
    pub(super) action: Option<Action>,
    /// What the spec waits for.
    pub(super) refused: Option<Obstacle>,
    pub(super) problems: Vec<String>,
    pub(super) lacking: Lacking,
    pub(super) unseen: Unseen,
    /// Its default route leads home although its status says that it has moved on.
    pub(super) led_home: bool,
    /// The status as last written.
    pub(super) written: Option<Written>,
    /// Checkpoints that we have read or sent, the last ones: any other is somebody else's.
    pub(super) known: VecDeque<u64>,
    pub(super) status_due: bool,
    pub(super) retry: Retry,
    pub(super) seen: Seen,
}

/// What Prometheus has of a release and nobody has looked at since the entry was made. A controller before this one may
/// have died on the way down, with its reason there and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Everything.
    All,
    /// Cells before this one: all in which that controller may have lived.
    Before(i64),
    /// Nothing that matters.
    Nothing,
}

/// What is in the way of a valid spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Releases of others, as many as there may be.
    Releases,
    /// Sections of others, in these namespaces. Its own has so many bytes.
    Room(Vec<String>, usize),
    /// Its requests belong to another rollout: with this number of changes to all rollouts they still did.
    Claim(u64),
    /// Anything else, likewise.
    Other(u64),
}

impl Obstacle {
    /// In one word; none: the spec itself is not right.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Releases => Some(reasons::WAITING),
            Self::Room(..) => Some(reasons::TOO_LARGE),
            Self::Claim(_) => Some(reasons::CLAIMED),
            Self::Other(_) => None,
        }
    }
}

/// When a rollout's next write may be tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    after: Option<Timestamp>,
    attempts: u32,
}

impl Retry {
    pub(super) const FIRST: Duration = Duration::from_millis(200);
    pub(super) const LONGEST: Duration = Duration::from_secs(30);

    pub(super) fn failed(&mut self, now: Timestamp) {
        let doubled = Self::FIRST.saturating_mul(1_u32 << self.attempts.min(10));
        self.attempts = self.attempts.saturating_add(1);
        self.after = Some(now + doubled.min(Self::LONGEST));
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        // A clock that was set back is no reason to wait longer.
        self.after
            .is_none_or(|after| now >= after || after > now + Self::LONGEST)
    }
}

impl Entry {
    pub(super) fn is_pending(&self) -> bool {
        let managed = self.managed.as_ref();
        managed.is_some_and(|managed| managed.pending != Writes::Nothing)
    }

    /// What its routes are made of; none: they are not ours, or somebody else routes the same host.
    pub(super) fn routed(&self) -> Option<Arc<RolloutState>> {
        let managed = self.managed.as_ref()?;
        let manages = |state: &RolloutState| state.mesh.as_ref().is_some_and(|mesh| mesh.manage);
        let contested = manages(&managed.state) && self.lacking.header.is_some();
        let shown = Some(&managed.shown).filter(|shown| manages(shown) && !contested)?;
        if !self.may_have_ended() {
            return Some(Arc::clone(shown));
        }
        // Its default route may be on its way home: until that is known it leads nowhere else.
        let mut ended = RolloutState::clone(shown);
        if let Some(release) = &mut ended.release {
            release.outcome = Some(Outcome::RolledBack);
        }
        Some(Arc::new(ended))
    }

    /// A restored rollout finds its section among those that the proxies have.
    pub(super) fn recognise(&mut self, name: &RolloutName, plugins: &Plugins) {
        let (Some(managed), Some((section, generation))) =
            (&mut self.managed, plugins.section(name))
        else {
            return;
        };
        managed.rendered = Some(Arc::clone(section));
        managed.view.generation = Some(generation);
        self.seen.section = None;
    }

    /// Prometheus was looked at.
    pub(super) fn has_seen(&mut self, world: &World, grid: Grid, now: Timestamp) {
        let until = match self.unseen {
            Unseen::Nothing => return,
            Unseen::All => i64::MAX,
            Unseen::Before(cell) => cell,
        };
        let managed = self.managed.as_ref();
        let Some(release) = managed.and_then(|managed| managed.state.in_progress()) else {
            self.unseen = Unseen::Nothing;
            return;
        };
        if !release.is_counted_on(grid) || managed.is_none_or(|it| !it.is_accepted()) {
            // Nobody counts its cells: a person may say what is to become of it.
            return;
        }
        if matches!(world.proxies, Some(Ok(_))) {
            // Not for longer than it takes, also after a clock that was ahead.
            let until = until.min(grid.first_after(world.time(now)));
            self.unseen = if release.evidence.next_cell < until {
                Unseen::Before(until)
            } else {
                Unseen::Nothing
            };
        }
    }

    /// Its release, as long as not all of it was looked at.
    pub(super) fn half_seen(&self) -> Option<&Managed> {
        let managed = self.managed.as_ref()?;
        let begun = managed.shown.in_progress().is_some();
        (begun && self.unseen != Unseen::Nothing).then_some(managed)
    }

    /// The proxies have the end of a release that goes on by its status, or its default route does. Either it was rolled
    /// back and nobody lived to say so, or it is a way up that nobody lived to go.
    pub(super) fn may_have_ended(&self) -> bool {
        self.half_seen().is_some_and(|managed| {
            let given = managed.rendered.as_ref();
            self.led_home || given.is_some_and(|section| !section.progressing)
        })
    }

    /// Whether what the proxies have of it waits: for its routes, or because a share would grow that somebody may have
    /// had a reason to take away. A way home waits for nothing, not even where another arm of it grows back to what its
    /// status says: to keep users where they are known to fail would be worse.
    pub(super) fn waits(&self, routed: bool) -> bool {
        let goes_down = self.deleting || self.goes_down();
        if !routed && !goes_down {
            return true;
        }
        let Some(managed) = self.half_seen() else {
            return false;
        };
        let (given, next) = (managed.rendered.as_deref(), section(&managed.shown));
        let Some(next) = next else { return false };
        let unseen = self.may_have_ended() || grows(given, &next);
        unseen && !(goes_down && given.is_some_and(|given| grows(Some(&next), given)))
    }

    /// Nothing waits for its status, and nobody reads anything new in it.
    pub(super) fn needs_only_a_checkpoint(&self) -> bool {
        self.managed.is_some() && !self.is_pending() && !self.status_due
    }

    pub(super) fn goes_down(&self) -> bool {
        let managed = self.managed.as_ref();
        managed.is_some_and(|it| it.pending == Writes::Down)
    }

    /// We have written it.
    pub(super) fn is_at(&mut self, resource_version: String) {
        let before = std::mem::replace(&mut self.resource_version, resource_version);
        self.echoes.written_over(before);
    }

    /// A status of ours goes out: when the watch brings it back, it is no news.
    pub(super) fn knows(&mut self, status: Option<&RolloutStatus>) {
        let mark = mark(status);
        if !self.known.contains(&mark) {
            self.known.push_back(mark);
        }
        if self.known.len() > REMEMBERED {
            self.known.pop_front();
        }
    }

    pub(super) fn ask(&mut self, action: Option<Action>) {
        let Some(action) = action else { return };
        let consumed = self.managed.as_ref().is_some_and(|managed| {
            let mut ids = managed.state.consumed_actions.iter();
            ids.any(|id| *id == action.id)
        });
        if !consumed {
            self.action = Some(action);
        }
    }

    pub(super) fn refuse(&mut self, problems: Vec<String>, obstacle: Option<Obstacle>) {
        let reason = obstacle.as_ref().and_then(Obstacle::reason);
        self.refused = obstacle;
        if self.problems != problems {
            self.status_due = true;
            self.problems.clone_from(&problems);
        }
        if let Some(managed) = &mut self.managed {
            managed.say_problems(problems);
            managed.view.not_in_force = reason;
        }
    }

    /// Everybody to the live version; the resource goes when that is written.
    pub(super) fn retire(&mut self, now: Timestamp) {
        self.refused = None;
        let Some(managed) = &mut self.managed else {
            return;
        };
        managed.retire(now);
        // There is no status left to be written first.
        managed.show();
    }

    /// What there is to be known of it is on the server.
    pub(super) fn is_written(&mut self, now: Timestamp) {
        self.status_due = false;
        if let Some(managed) = &mut self.managed {
            managed.saved(now);
        }
    }

    /// What its status says.
    pub(super) fn for_status(&self) -> status::Known<'_> {
        status::Known {
            managed: self.managed.as_ref(),
            problems: &self.problems,
            not_in_force: self.refused.as_ref().and_then(Obstacle::reason),
            spec_generation: self.spec_generation,
            written: self.written.as_ref(),
        }
    }
}

/// Whether a version that is not live gets requests that it does not get as things are.
fn grows(present: Option<&RolloutConfig>, next: &RolloutConfig) -> bool {
    let share = |section: &RolloutConfig, version: &str| {
        let own = (0_u8..)
            .zip(section.variants.iter().filter(|_| section.enabled))
            .filter(|(_, it)| it.version == version && it.enabled && !it.live);
        own.map(|(number, _)| u32::from(section.table.share(number)))
            .sum::<u32>()
    };
    let mut versions = next.variants.iter().map(|it| it.version.as_str());
    versions.any(|it| share(next, it) > present.map_or(0, |present| share(present, it)))
}

/// Stands for a status' checkpoint.
pub(super) fn mark(status: Option<&RolloutStatus>) -> u64 {
    let checkpoint = status.and_then(|status| status.checkpoint.as_deref());
    checkpoint.map_or(0, |text| xxh3_64(text.as_bytes()))
}
