//! Resources as they come: seen for the first time, edited, asked something, deleted.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::{Entry, Fleet, Retry, recognise};
use crate::api::status::RolloutStatus;
use crate::cluster::foreign::{self, Lacking};
use crate::cluster::names;
use crate::cluster::object::Kind;
use crate::cluster::resource::ModelRollout;
use crate::cluster::routes;
use crate::driver::{Managed, Routed};
use crate::rollout::{Action, RolloutState, Writes, accept, begins, retire};
use crate::validate::{Plan, RolloutName, validate};

/// Own statuses that the watch may still bring back.
const REMEMBERED: usize = 16;

impl Fleet {
    /// A resource as the server has it now.
    pub fn resource(&mut self, resource: &ModelRollout, now: Timestamp) {
        let Some(name) = name_of(resource) else {
            return;
        };
        let metadata = &resource.metadata;
        let finalizers = metadata.finalizers.iter().flatten();
        let finalizer = finalizers.into_iter().any(|it| it == names::FINALIZER);
        let resource_version = metadata.resource_version.clone().unwrap_or_default();
        let uid = metadata.uid.clone().unwrap_or_default();
        // Under the same name, but another one: what was known of the old one ended with it. Or another memory: a leader
        // before us was late with it, or somebody has mended it. What is written is the truth.
        let remembers = |entry: &Entry| entry.known.contains(&mark(resource.status.as_ref()));
        let known = self.rollouts.get(&name);
        if known.is_some_and(|entry| entry.uid != uid || !remembers(entry)) {
            self.rollouts.remove(&name);
        }
        let spec_generation = metadata.generation.unwrap_or(0);
        let known = self.rollouts.get(&name);
        let edited = known.is_none_or(|entry| entry.spec_generation != spec_generation);
        let deleted = metadata.deletion_timestamp.is_some();
        if !self.rollouts.contains_key(&name) {
            let entry = self.first_seen(resource, uid);
            self.rollouts.insert(name.clone(), entry);
        }
        let Some(entry) = self.rollouts.get_mut(&name) else {
            return;
        };
        entry.resource_version = resource_version;
        entry.finalizer = finalizer;
        entry.spec_generation = spec_generation;
        // Whatever stood in the way of a write, the object is another one now.
        entry.retry = Retry::default();
        entry.ask(action_of(resource));
        if deleted {
            if !entry.deleting {
                entry.deleting = true;
                entry.retire(now);
            }
            return;
        }
        if edited {
            entry.file = resource
                .file()
                .map_err(|(path, reason)| format!("{path}: {reason}"));
            entry.status_due = true;
            self.take_over(&name, now);
        }
    }

    /// A resource that is not there any more, finalizer or not.
    pub fn resource_gone(&mut self, name: &RolloutName) {
        self.rollouts.remove(name);
        for entry in self.rollouts.values_mut() {
            // It may have been in the way.
            entry.refused |= !entry.problems.is_empty();
        }
    }

    /// Resources that are there after a watch began anew: all others of its namespace are gone.
    pub fn only(&mut self, namespace: Option<&str>, there: &BTreeSet<RolloutName>) {
        let gone: Vec<_> = self
            .rollouts
            .keys()
            .filter(|name| namespace.is_none_or(|it| it == name.namespace))
            .filter(|name| !there.contains(name))
            .cloned()
            .collect();
        for name in gone {
            self.resource_gone(&name);
        }
    }

    fn first_seen(&self, resource: &ModelRollout, uid: String) -> Entry {
        let mut entry = Entry {
            uid,
            resource_version: String::new(),
            spec_generation: -1,
            deleting: false,
            finalizer: false,
            file: Err(String::new()),
            managed: None,
            action: None,
            refused: false,
            problems: Vec::new(),
            lacking: Lacking::default(),
            written: resource.status.clone(),
            known: VecDeque::from([mark(resource.status.as_ref())]),
            status_due: false,
            retry: Retry::default(),
        };
        let status = resource.status.as_ref();
        let Some(checkpoint) = status.and_then(|status| status.checkpoint.as_ref()) else {
            return entry;
        };
        match serde_json::from_str::<RolloutState>(checkpoint) {
            Ok(state) => {
                let mut managed = Managed::restore(state, None);
                for sections in self.sections.values() {
                    recognise(&mut managed, sections);
                }
                entry.managed = Some(managed);
            }
            Err(error) => {
                // To begin anew would move weights on half a memory.
                entry.problems = vec![format!(
                    "status.checkpoint: cannot be understood ({error}): whoever may update modelrollouts/status restores it, or removes it (kubectl edit modelrollout NAME --subresource=status); the rollout then begins anew from what its default route serves"
                )];
            }
        }
        entry
    }

    pub(super) fn take_over_waiting(&mut self, now: Timestamp) {
        let waiting = self.rollouts.iter().filter(|(_, entry)| entry.refused);
        let waiting: Vec<_> = waiting.map(|(name, _)| name.clone()).collect();
        for name in waiting {
            self.take_over(&name, now);
        }
    }

    /// Takes over the spec, or says why not. The running release is untouched then.
    fn take_over(&mut self, name: &RolloutName, now: Timestamp) {
        let Some(entry) = self.rollouts.get(name) else {
            return;
        };
        let corrupt = entry.managed.is_none()
            && entry
                .written
                .as_ref()
                .is_some_and(|it| it.checkpoint.is_some());
        if corrupt {
            return;
        }
        let found = match &entry.file {
            Err(reason) => Err((vec![reason.clone()], false)),
            Ok(file) => match validate(file) {
                Err(problems) => {
                    let lines = problems
                        .iter()
                        .map(|it| format!("{}: {}", it.path, it.reason));
                    Err((lines.collect(), false))
                }
                Ok(plan) => self
                    .objection(name, &plan)
                    .map_or_else(|| Ok((plan, file.clone())), |why| Err((vec![why], true))),
            },
        };
        let (plan, file) = match found {
            Ok(found) => found,
            Err((problems, waits)) => {
                if let Some(entry) = self.rollouts.get_mut(name) {
                    entry.refuse(problems, waits);
                }
                return;
            }
        };
        let routed = self.routed(name, &plan);
        let grid = self.settings.grid;
        let theirs = &self.theirs;
        let Some(entry) = self.rollouts.get_mut(name) else {
            return;
        };
        let managed = entry
            .managed
            .get_or_insert_with(|| Managed::first(&plan, routed.clone()));
        match accept(&plan, &file, &managed.state, now, grid) {
            Ok((state, writes)) => {
                managed.plan = Some(Arc::new(plan));
                managed.change(state, writes);
                if let Some(mesh) = &managed.state.mesh {
                    // The first writes do not wait for a tick.
                    entry.lacking = foreign::lacking(&managed.state, mesh, theirs);
                }
                entry.refuse(Vec::new(), false);
            }
            Err(refusal) => {
                let never = managed.state.release.is_none() && managed.state.history.is_empty();
                if never {
                    // What is live is still for the routes to say.
                    *managed = Managed::first(&plan, routed);
                }
                entry.refuse(vec![refusal.to_string()], true);
            }
        }
    }

    /// Why a valid spec cannot be in force beside the others.
    fn objection(&self, name: &RolloutName, plan: &Plan) -> Option<String> {
        let Some(mesh) = &plan.mesh else {
            return Some(
                "spec.variants: routes with 'cluster' are for standalone: say 'subset' or 'host'"
                    .to_owned(),
            );
        };
        if self.settings.mode == super::Mode::Namespaces && mesh.scope.is_empty() {
            return Some(
                "spec.scope: must name the namespaces of the callers and gateways, because this installation gives the filter to namespaces (--mode namespaces)"
                    .to_owned(),
            );
        }
        let others = || self.rollouts.iter().filter(|(other, _)| *other != name);
        let own = self.rollouts.get(name).and_then(|it| it.managed.as_ref());
        let first_come = own.is_none_or(|managed| managed.plan.is_none());
        let taken = others().find(|(_, entry)| {
            entry.managed.as_ref().is_some_and(|managed| {
                let state = &managed.state;
                let has = state.release.is_some() || (first_come && managed.plan.is_some());
                has && state.claims(&plan.hosts, &plan.paths)
            })
        });
        if let Some((other, _)) = taken {
            return Some(format!(
                "spec.match: these requests belong to rollout '{other}': give this one another host or path"
            ));
        }
        let most = self.settings.max_releases?;
        let state = own.map(|managed| &managed.state);
        let going = others().filter(|(_, entry)| {
            let managed = entry.managed.as_ref();
            managed.is_some_and(|managed| managed.state.in_progress().is_some())
        });
        let going = going.count();
        let would_begin = state.is_none_or(|state| begins(plan, state));
        (would_begin && going >= most).then(|| {
            format!("waiting: {going} releases are in progress, as many as --max-releases allows; this one begins when one of them has ended")
        })
    }

    /// What the default route serves for a rollout without a status.
    fn routed(&self, name: &RolloutName, plan: &Plan) -> Option<Routed> {
        let ours = self.present.iter();
        let mut ours = ours.filter(|(id, _)| id.kind == Kind::VirtualService);
        let remembered = ours.find_map(|(_, object)| {
            routes::default_routes(object)
                .remove(&name.to_string())
                .filter(|it| it.paths == plan.paths)
        });
        if let Some(route) = remembered {
            return Some(Routed {
                route: route.live.route,
                destination: route.live.destination,
            });
        }
        foreign::default_route(&plan.hosts, &plan.paths, &self.theirs)
    }
}

impl Entry {
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

    fn ask(&mut self, action: Option<Action>) {
        let Some(action) = action else { return };
        let consumed = self.managed.as_ref().is_some_and(|managed| {
            let mut ids = managed.state.consumed_actions.iter();
            ids.any(|id| *id == action.id)
        });
        if !consumed {
            self.action = Some(action);
        }
    }

    fn refuse(&mut self, problems: Vec<String>, waits: bool) {
        self.refused = waits;
        if self.problems != problems {
            self.status_due = true;
            self.problems.clone_from(&problems);
        }
        if let Some(managed) = &mut self.managed {
            managed.say_problems(problems);
        }
    }

    /// Everybody to the live version; the resource goes when that is written.
    fn retire(&mut self, now: Timestamp) {
        self.refused = false;
        let Some(managed) = &mut self.managed else {
            return;
        };
        let (state, writes) = retire(&managed.state, now);
        managed.plan = None;
        managed.change(state, writes.max(Writes::State));
        // There is no status left to be written first.
        managed.show();
    }
}

/// Stands for a status' checkpoint.
fn mark(status: Option<&RolloutStatus>) -> u64 {
    let checkpoint = status.and_then(|status| status.checkpoint.as_deref());
    checkpoint.map_or(0, |text| xxh3_64(text.as_bytes()))
}

fn name_of(resource: &ModelRollout) -> Option<RolloutName> {
    Some(RolloutName {
        namespace: resource.metadata.namespace.clone()?,
        name: resource.metadata.name.clone()?,
    })
}

/// What somebody asks for. What cannot be understood is nobody's wish.
fn action_of(resource: &ModelRollout) -> Option<Action> {
    let annotations = resource.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(names::ACTION)?).ok()
}
