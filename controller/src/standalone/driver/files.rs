//! Taking over the rollout files of a tick: accepted, refused, or gone.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::Driver;
use crate::cluster::conditions::reasons;
use crate::driver::{Managed, Routed};
use crate::locate::{Place, place_of};
use crate::paths::Paths;
use crate::render::{self, default_route_in};
use crate::rollout::{Writes, accept, begins};
use crate::standalone::folder::Folder;
use crate::validate::{Plan, RolloutName};

/// Editors replace a file by removing it for a moment; only one that stays away is gone.
const GONE_AFTER: std::time::Duration = std::time::Duration::from_secs(3);

impl Driver {
    /// Whose requests a file may claim before others: those of a release first, then those of what was accepted once.
    pub(super) fn rank(&self, file: &str) -> u8 {
        let mut managed = self.rollouts.values();
        match managed.find(|it| it.file.as_deref() == Some(file)) {
            Some(managed) if managed.state.release.is_some() => 0,
            Some(managed) if managed.is_accepted() => 1,
            _ => 2,
        }
    }

    pub(super) fn take_over(&mut self, folder: &Folder, now: Timestamp) {
        let rds = self.store.read_envoy(&self.store.rds());
        for (name, file) in &folder.rollouts {
            let plan = &file.source.plan;
            let taken = self.taken(name, &plan.hosts, &plan.paths);
            let full = self.full(name);
            let managed = self
                .rollouts
                .entry(name.clone())
                .or_insert_with(|| Managed::first(plan, routed(plan, rds.as_ref())));
            managed.file = Some(file.name.clone());
            managed.missing_since = None;
            let waits = taken.is_none() && full.is_some() && begins(plan, &managed.state);
            let accepted = match taken {
                Some(other) => Err(format!(
                    "spec.match: these requests still belong to rollout '{other}'"
                )),
                None if waits => Err(full.unwrap_or_default()),
                None => accept(
                    plan,
                    &file.source.rollout,
                    &managed.state,
                    now,
                    self.settings.grid,
                )
                .map_err(|refusal| refusal.to_string()),
            };
            match accepted {
                Ok((state, writes)) => {
                    let dropped = managed
                        .state
                        .hosts
                        .iter()
                        .filter(|host| !state.hosts.contains(host));
                    self.inherited
                        .extend(dropped.map(|host| render::default_host(&managed.state, host)));
                    managed.say_problems(Vec::new());
                    managed.accept(Arc::new(plan.clone()), state, writes);
                    let (hosts, paths) = (plan.hosts.clone(), plan.paths.clone());
                    self.give_up_claims(name, &hosts, &paths);
                }
                Err(refusal) => {
                    let field = refusal.split(": ").next().unwrap_or_default();
                    let place = place_of(&file.text, field);
                    let line =
                        place.map_or_else(String::new, |Place { line, .. }| format!(":{line}"));
                    managed.say_problems(vec![format!("{}{line}: {refusal}", file.name)]);
                    managed.view.not_in_force = waits.then_some(reasons::WAITING);
                    // It has never had a release: what is live is still for the routes to say.
                    if managed.state.release.is_none() && managed.state.history.is_empty() {
                        managed.state = Managed::first(plan, routed(plan, rds.as_ref())).state;
                    }
                }
            }
        }
        let mut orphans = Vec::new();
        for (file, mistakes) in &folder.mistakes {
            match self
                .rollouts
                .values_mut()
                .find(|managed| managed.file.as_ref() == Some(file))
            {
                // The last good version of the file stays in force.
                Some(managed) => {
                    managed.missing_since = None;
                    managed.say_problems(mistakes.clone());
                }
                None => orphans.extend(mistakes.iter().cloned()),
            }
        }
        if orphans != self.problems {
            orphans
                .iter()
                .for_each(|mistake| tracing::error!("{mistake}"));
            self.problems = orphans;
        }
        self.retire_missing(folder, now);
    }

    /// Why no further release may begin; none while there is room.
    fn full(&self, name: &RolloutName) -> Option<String> {
        let most = self.settings.max_releases?;
        let others = self.rollouts.values();
        let going = others
            .filter(|it| it.state.name != *name && it.state.in_progress().is_some())
            .count();
        (going >= most).then(|| {
            format!("waiting: {going} releases are in progress, as many as --max-releases allows; this one begins when one of them has ended")
        })
    }

    /// Another rollout whose release has the same requests: the filter refuses a config with both.
    fn taken(&self, name: &RolloutName, hosts: &[String], paths: &Paths) -> Option<RolloutName> {
        let same = |managed: &&Managed| {
            let state = &managed.state;
            state.name != *name && state.release.is_some() && state.claims(hosts, paths)
        };
        self.rollouts
            .values()
            .find(same)
            .map(|managed| managed.state.name.clone())
    }

    /// These requests have found a rollout with a release: what others without one remember of them is out of date.
    fn give_up_claims(&mut self, name: &RolloutName, hosts: &[String], paths: &Paths) {
        for managed in self.rollouts.values_mut() {
            let state = &managed.state;
            if state.name != *name && state.release.is_none() && state.claims(hosts, paths) {
                let mut state = crate::rollout::RolloutState::clone(state);
                state.hosts.retain(|host| !hosts.contains(host));
                managed.change(state, Writes::State);
            }
        }
    }

    fn retire_missing(&mut self, folder: &Folder, now: Timestamp) {
        let broken = |managed: &Managed| {
            managed
                .file
                .as_ref()
                .is_some_and(|file| folder.mistakes.contains_key(file))
        };
        for (name, managed) in &mut self.rollouts {
            if folder.rollouts.contains_key(name) || broken(managed) {
                continue;
            }
            let since = *managed.missing_since.get_or_insert(now);
            if now < since + GONE_AFTER
                || (managed.file.is_none() && managed.state.release.is_none())
            {
                continue;
            }
            let live = &managed.state.live.version;
            tracing::info!(rollout = %name, live, "the rollout file is gone; the live version goes on serving");
            managed.file = None;
            managed.say_problems(Vec::new());
            managed.retire(now);
        }
    }
}

/// Where the default route of the rollout's requests leads, if Envoy's file has one.
fn routed(plan: &Plan, rds: Option<&Value>) -> Option<Routed> {
    let mut hosts = plan.hosts.iter();
    let route = hosts.find_map(|host| default_route_in(rds?, host, &plan.paths))?;
    Some(Routed {
        route: route.to_owned(),
        destination: None,
    })
}
