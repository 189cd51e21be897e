//! Every rollout, and which of them something is to be done for: kept up to date with each change of one, so that nobody
//! has to look through all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::Entry;
use crate::paths::Paths;
use crate::rollout::{RolloutState, Writes};
use crate::validate::RolloutName;

/// All of them.
#[derive(Clone, Default)]
pub(super) struct Rollouts {
    /// Boxed, for a tree has room that it does not use.
    entries: BTreeMap<RolloutName, Box<Entry>>,
    /// Hosts and who claims some of their paths.
    claims: BTreeSet<(String, RolloutName)>,
    /// Whose release is in progress.
    in_progress: BTreeSet<RolloutName>,
    /// Of which something is to be written.
    busy: BTreeSet<RolloutName>,
    /// Whose state is not written whole.
    unsaved: BTreeSet<RolloutName>,
    /// Asked for something.
    asked: BTreeSet<RolloutName>,
    /// Whose spec waits for something else to change.
    refused: BTreeSet<RolloutName>,
    /// Changed since somebody looked.
    touched: BTreeSet<RolloutName>,
    /// Changed since people were shown.
    unshown: BTreeSet<RolloutName>,
    /// Counts what specs may wait for: claims, releases and what is live.
    changes: u64,
}

/// What of an entry others look at, as it was when they looked last.
#[derive(Clone, Default)]
pub(super) struct Seen {
    state: Option<Arc<RolloutState>>,
    /// What its section was made of: the state, and whether it waited for its routes.
    pub(super) section: Option<(Arc<RolloutState>, bool)>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.entries).finish()
    }
}

impl Rollouts {
    pub(super) fn get(&self, name: &RolloutName) -> Option<&Entry> {
        self.entries.get(name).map(|it| &**it)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RolloutName, &Entry)> {
        self.entries.iter().map(|(name, it)| (name, &**it))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Changes an entry.
    pub(super) fn change<T>(
        &mut self,
        name: &RolloutName,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let result = change(self.entries.get_mut(name)?);
        self.look_at(name);
        Some(result)
    }

    pub(super) fn insert(&mut self, name: &RolloutName, entry: Entry) {
        self.remove(name);
        self.entries.insert(name.clone(), Box::new(entry));
        self.look_at(name);
    }

    pub(super) fn remove(&mut self, name: &RolloutName) -> Option<Box<Entry>> {
        let entry = self.entries.remove(name)?;
        self.claim(name, entry.seen.state.as_deref(), None);
        for set in [
            &mut self.in_progress,
            &mut self.busy,
            &mut self.unsaved,
            &mut self.asked,
            &mut self.refused,
        ] {
            set.remove(name);
        }
        self.touched.insert(name.clone());
        self.unshown.insert(name.clone());
        self.changes += 1;
        Some(entry)
    }

    fn look_at(&mut self, name: &RolloutName) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let managed = entry.managed.as_ref();
        let now = managed.map(|it| Arc::clone(&it.state));
        let pending = managed.is_some_and(|it| it.pending != Writes::Nothing);
        let bare = managed.is_some() && !entry.finalizer;
        let facts = [
            (
                &mut self.in_progress,
                now.as_ref().is_some_and(|it| it.in_progress().is_some()),
            ),
            (
                &mut self.busy,
                pending || bare || entry.status_due || entry.deleting,
            ),
            (&mut self.unsaved, managed.is_some_and(|it| !it.is_saved())),
            (&mut self.asked, entry.action.is_some()),
            (&mut self.refused, entry.refused.is_some()),
        ];
        for (set, holds) in facts {
            if !holds {
                set.remove(name);
            } else if !set.contains(name) {
                set.insert(name.clone());
            }
        }
        for news in [&mut self.touched, &mut self.unshown] {
            if !news.contains(name) {
                news.insert(name.clone());
            }
        }
        let before = std::mem::replace(&mut entry.seen.state, now.clone());
        if before.as_ref().map(Arc::as_ptr) != now.as_ref().map(Arc::as_ptr) {
            self.claim(name, before.as_deref(), now.as_deref());
        }
    }

    fn claim(
        &mut self,
        name: &RolloutName,
        before: Option<&RolloutState>,
        now: Option<&RolloutState>,
    ) {
        let hosts = |state: Option<&RolloutState>| state.map(|it| it.hosts.clone());
        let release = |state: &RolloutState| {
            let release = state.release.as_ref()?;
            Some((release.started, release.outcome))
        };
        let same = before.zip(now).is_some_and(|(before, now)| {
            (&before.hosts, &before.paths, &before.live) == (&now.hosts, &now.paths, &now.live)
                && release(before) == release(now)
        });
        if same {
            return;
        }
        for host in hosts(before).into_iter().flatten() {
            self.claims.remove(&(host, name.clone()));
        }
        for host in hosts(now).into_iter().flatten() {
            self.claims.insert((host, name.clone()));
        }
        self.changes += 1;
    }

    /// Who claims these paths of any of these hosts, whether it may or not.
    pub(super) fn claiming(
        &self,
        hosts: &[String],
        paths: &Paths,
    ) -> impl Iterator<Item = (&RolloutName, &Entry)> {
        let nobody = RolloutName {
            namespace: String::new(),
            name: String::new(),
        };
        let mut found = BTreeSet::new();
        for host in hosts {
            let begin = (host.clone(), nobody.clone());
            let of_host = self.claims.range(begin..);
            found.extend(
                of_host
                    .take_while(|(it, _)| it == host)
                    .map(|(_, name)| name),
            );
        }
        let found: Vec<_> = found
            .into_iter()
            .filter_map(|name| Some((name, self.get(name)?)))
            .filter(|(_, entry)| {
                let managed = entry.managed.as_ref();
                managed.is_some_and(|it| it.state.claims(hosts, paths))
            })
            .collect();
        found.into_iter()
    }

    /// Forgets that anybody has looked.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in names {
            self.change(&name, |entry| entry.seen.section = None);
        }
    }

    pub(super) fn in_progress(&self) -> &BTreeSet<RolloutName> {
        &self.in_progress
    }

    pub(super) fn unsaved(&self) -> &BTreeSet<RolloutName> {
        &self.unsaved
    }

    pub(super) fn busy(&self) -> &BTreeSet<RolloutName> {
        &self.busy
    }

    pub(super) fn take_asked(&mut self) -> BTreeSet<RolloutName> {
        std::mem::take(&mut self.asked)
    }

    pub(super) fn refused(&self) -> &BTreeSet<RolloutName> {
        &self.refused
    }

    pub(super) fn take_touched(&mut self) -> BTreeSet<RolloutName> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn take_unshown(&mut self) -> BTreeSet<RolloutName> {
        std::mem::take(&mut self.unshown)
    }

    /// Something else has changed that a spec may wait for.
    pub(super) fn note(&mut self) {
        self.changes += 1;
    }

    /// Another number whenever something has changed that a spec may wait for.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}
