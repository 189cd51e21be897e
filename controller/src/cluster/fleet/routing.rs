//! Which routes are not as they should be: kept up to date change by change, for there may be thousands of hosts, and a
//! round in which nothing has changed must cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::writes::AT_A_TIME;
use crate::cluster::object::{self, Kind, Memory, ObjectId, Owned, Present};
use crate::cluster::routes::{self, DefaultRoute};
use crate::rollout::RolloutState;
use crate::validate::{RolloutName, VariantRef};

/// The name that an object of a host or service has.
type ObjectName = String;

/// The routes of all rollouts, and of the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Routing {
    /// What is routed.
    states: BTreeMap<RolloutName, Arc<RolloutState>>,
    /// Whom an object is about: its name, the host or service, and the rollout.
    users: BTreeSet<(Kind, ObjectName, String, RolloutName)>,
    /// Where the VirtualServices are.
    places: BTreeSet<(ObjectName, String)>,
    /// Services that default routes on the server lead to.
    leading: BTreeSet<(String, ObjectId)>,
    /// Rollouts that default routes on the server are about.
    remembered: BTreeSet<(String, ObjectId)>,
    /// Objects to be looked at again.
    dirty: BTreeSet<(Kind, ObjectName)>,
    /// Objects that are not as they should be.
    wrong: BTreeMap<(Kind, ObjectName), ObjectId>,
    /// Rollouts that are being deleted.
    leaving: BTreeSet<RolloutName>,
    /// Rollouts whose routes are still to be written.
    unrouted: BTreeSet<RolloutName>,
}

impl Routing {
    /// A rollout is to be routed like this; `None`: not by us.
    pub(super) fn follow(&mut self, name: &RolloutName, state: Option<&Arc<RolloutState>>) {
        let before = self.states.get(name);
        if before.map(Arc::as_ptr) == state.map(Arc::as_ptr) {
            return;
        }
        let users = |state: &RolloutState| {
            let hosts = routes::hosts(state).map(|it| (Kind::VirtualService, it.as_str()));
            let services = routes::services(state).into_iter();
            let services = services.map(|it| (Kind::DestinationRule, it));
            let all = hosts.chain(services);
            all.map(|(kind, it)| (kind, object::name(it), it.to_owned()))
                .collect::<BTreeSet<_>>()
        };
        let old = before.map(|state| users(state)).unwrap_or_default();
        let new = state.map(|state| users(state)).unwrap_or_default();
        for (kind, object, user) in old.difference(&new) {
            let key = (*kind, object.clone(), user.clone(), name.clone());
            self.users.remove(&key);
        }
        for (kind, object, user) in new.difference(&old) {
            let key = (*kind, object.clone(), user.clone(), name.clone());
            self.users.insert(key);
        }
        if new.is_empty() {
            self.unrouted.remove(name);
        }
        let touched = old.into_iter().chain(new);
        self.dirty
            .extend(touched.map(|(kind, object, _)| (kind, object)));
        match state {
            Some(state) => self.states.insert(name.clone(), Arc::clone(state)),
            None => self.states.remove(name),
        };
    }

    /// A rollout is being deleted: what is there of its routes still leads to the live version, but nothing is made for
    /// it any more. In a namespace that is being deleted nothing can be.
    pub(super) fn leave(&mut self, name: &RolloutName, leaves: bool) {
        let changed = if leaves {
            self.leaving.insert(name.clone())
        } else {
            self.leaving.remove(name)
        };
        if let Some(state) = self.states.get(name).filter(|_| changed) {
            let hosts = routes::hosts(state).map(|it| (Kind::VirtualService, object::name(it)));
            let services = routes::services(state).into_iter();
            let services = services.map(|it| (Kind::DestinationRule, object::name(it)));
            self.dirty.extend(hosts.chain(services));
        }
    }

    /// Whether nobody needs an object but rollouts that are being deleted.
    fn is_left(&self, kind: Kind, name: &str) -> bool {
        self.users_of(kind, name)
            .all(|(_, rollout)| self.leaving.contains(rollout))
    }

    /// An object of ours is there, has changed, or is gone.
    pub(super) fn object(
        &mut self,
        id: &ObjectId,
        before: Option<&Present>,
        after: Option<&Present>,
    ) {
        self.dirty.insert((id.kind, id.name.clone()));
        if id.kind != Kind::VirtualService {
            return;
        }
        let place = (id.name.clone(), id.namespace.clone());
        if after.is_some() {
            self.places.insert(place);
        } else {
            self.places.remove(&place);
        }
        let text = |it: Option<&Present>| match it.map(|it| &it.memory) {
            Some(Memory::DefaultRoutes(text)) => text.clone(),
            _ => String::new(),
        };
        if text(before) == text(after) {
            return;
        }
        let known = |it: &Present| routes::default_routes(it);
        for (rollout, route) in before.map(known).into_iter().flatten() {
            self.remembered.remove(&(rollout, id.clone()));
            if let Some(service) = self.led_to(&route) {
                self.leading.remove(&(service, id.clone()));
            }
        }
        for (rollout, route) in after.map(known).into_iter().flatten() {
            self.remembered.insert((rollout, id.clone()));
            if let Some(service) = self.led_to(&route) {
                self.leading.insert((service, id.clone()));
            }
        }
    }

    /// The service that a default route leads to. Its subsets are to be looked at again.
    fn led_to(&mut self, route: &DefaultRoute) -> Option<String> {
        let (service, ..) = routes::subset(&route.live)?;
        let rule = (Kind::DestinationRule, object::name(service));
        self.dirty.insert(rule);
        Some(service.to_owned())
    }

    /// Objects on the server that remember a rollout's default route.
    pub(super) fn remembering(&self, name: &RolloutName) -> impl Iterator<Item = &ObjectId> {
        let name = name.to_string();
        let begin = (name.clone(), ObjectId::first(Kind::DestinationRule));
        let found = self.remembered.range(begin..);
        found
            .take_while(move |(rollout, _)| *rollout == name)
            .map(|(_, id)| id)
    }

    /// Looks at what has changed. Rollouts that have routes now or lack them now.
    pub(super) fn settle(&mut self, present: &BTreeMap<ObjectId, Present>) -> Vec<RolloutName> {
        let mut changed = Vec::new();
        for (kind, name) in std::mem::take(&mut self.dirty) {
            let wanted = self.wanted(kind, &name, present);
            let wrong = wanted.filter(|it| match present.get(&it.id) {
                Some(there) => !it.is(there),
                None => !self.is_left(kind, &name),
            });
            let key = (kind, name);
            match wrong {
                Some(wrong) => self.wrong.insert(key.clone(), wrong.id),
                None => self.wrong.remove(&key),
            };
            if kind == Kind::VirtualService {
                let users: BTreeSet<_> = self.users_of(kind, &key.1).map(|(_, it)| it).collect();
                let users: Vec<_> = users.into_iter().cloned().collect();
                changed.extend(users.into_iter().filter(|name| self.look_at(name)));
            }
        }
        changed
    }

    /// Whether a rollout has all its routes; `true`: that is another answer than before.
    fn look_at(&mut self, name: &RolloutName) -> bool {
        let lacks = self.states.get(name).is_some_and(|state| {
            let mut hosts = routes::hosts(state);
            hosts.any(|host| {
                self.wrong
                    .contains_key(&(Kind::VirtualService, object::name(host)))
            })
        });
        if lacks {
            self.unrouted.insert(name.clone())
        } else {
            self.unrouted.remove(name)
        }
    }

    /// Whom an object is about: the host or service, and the rollout.
    fn users_of<'a>(
        &'a self,
        kind: Kind,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a RolloutName)> + Clone {
        let nobody = RolloutName {
            namespace: String::new(),
            name: String::new(),
        };
        let begin = (kind, name.to_owned(), String::new(), nobody);
        let found = self.users.range(begin..);
        found
            .take_while(move |(of, object, ..)| (*of, object.as_str()) == (kind, name))
            .map(|(_, _, user, rollout)| (user, rollout))
    }

    /// An object as it should be; none: there is nobody whom it would be about, and what is there stays.
    fn wanted(
        &self,
        kind: Kind,
        name: &str,
        present: &BTreeMap<ObjectId, Present>,
    ) -> Option<Owned> {
        let users = self.users_of(kind, name);
        let (user, _) = users.clone().next()?;
        let states = users
            .filter(|(it, _)| *it == user)
            .filter_map(|(_, rollout)| self.states.get(rollout).map(|state| &**state));
        if kind == Kind::DestinationRule {
            return routes::destination_rule(user, states, &self.gone(user, present));
        }
        let there = self.place(name).and_then(|namespace| {
            let id = routes::id(kind, namespace, user);
            Some((namespace, present.get(&id)?))
        });
        routes::virtual_service(user, states, there)
    }

    fn place(&self, name: &str) -> Option<&str> {
        let begin = (name.to_owned(), String::new());
        let (found, namespace) = self.places.range(begin..).next()?;
        (found == name).then_some(namespace)
    }

    fn leading_to<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a ObjectId> {
        let begin = (service.to_owned(), ObjectId::first(Kind::DestinationRule));
        let found = self.leading.range(begin..);
        found
            .take_while(move |(it, _)| it == service)
            .map(|(_, id)| id)
    }

    /// Where default routes on the server lead whose rollouts are gone.
    fn gone(&self, service: &str, present: &BTreeMap<ObjectId, Present>) -> Vec<VariantRef> {
        let objects = self.leading_to(service).filter_map(|id| present.get(id));
        let routes = objects.flat_map(routes::default_routes);
        routes
            .filter(|(rollout, _)| {
                let name = crate::cluster::plugin::name(rollout);
                name.is_none_or(|name| !self.states.contains_key(&name))
            })
            .map(|(_, route)| route.live)
            .collect()
    }

    /// Whether a route that is still to be written may lead to what a rule is about to drop.
    fn is_led_to(&self, rule: &str) -> bool {
        let wrong = |name: String| self.wrong.contains_key(&(Kind::VirtualService, name));
        self.users_of(Kind::DestinationRule, rule)
            .any(|(service, rollout)| {
                let state = self.states.get(rollout);
                let mut hosts = state.into_iter().flat_map(|state| routes::hosts(state));
                hosts.any(|host| wrong(object::name(host)))
                    || self.leading_to(service).any(|id| wrong(id.name.clone()))
            })
    }

    /// Whether a route is to lead to a subset that is not on the server.
    fn lacks_subsets(&self, route: &str, present: &BTreeMap<ObjectId, Present>) -> bool {
        let users = self.users_of(Kind::VirtualService, route);
        let states = users.filter_map(|(_, rollout)| self.states.get(rollout));
        let mut wanted = states
            .flat_map(|state| routes::versions(state))
            .filter_map(routes::subset);
        wanted.any(|(service, subset, _)| {
            let rule = (Kind::DestinationRule, object::name(service));
            self.wrong.get(&rule).is_some_and(|id| {
                let there = present.get(id);
                there.is_none_or(|there| !routes::has_subset(there, subset))
            })
        })
    }

    /// Objects that are to be written now, in the order in which they may be.
    pub(super) fn writes(
        &self,
        present: &BTreeMap<ObjectId, Present>,
        is_due: impl Fn(&ObjectId) -> bool,
    ) -> Vec<Owned> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for ((kind, name), id) in self.wrong.iter().filter(|(_, id)| is_due(id)) {
            if first.len() >= AT_A_TIME {
                break;
            }
            let Some(owned) = self.wanted(*kind, name, present) else {
                continue;
            };
            if *kind == Kind::VirtualService && self.lacks_subsets(name, present) {
                // The next round writes it, if this one has written them.
                continue;
            }
            let there = present.get(id).filter(|_| *kind == Kind::DestinationRule);
            match there.and_then(|there| Some((routes::keeping_subsets(&owned, there)?, there))) {
                None => first.push(owned),
                Some((both, there)) if !both.is(there) => first.push(both),
                // Subsets go only when no route leads to them any more.
                Some(_) if self.is_led_to(name) => {}
                Some(_) => last.push(owned),
            }
        }
        first.extend(last);
        first
    }

    /// Objects of a rollout that are not as they should be.
    pub(super) fn wrong_of(&self, state: &RolloutState) -> impl Iterator<Item = &ObjectId> {
        let hosts = routes::hosts(state).map(|it| (Kind::VirtualService, it.as_str()));
        let services = routes::services(state).into_iter();
        let services = services.map(|it| (Kind::DestinationRule, it));
        let keys = services
            .chain(hosts)
            .map(|(kind, it)| (kind, object::name(it)))
            .collect::<Vec<_>>();
        keys.into_iter().filter_map(|key| self.wrong.get(&key))
    }

    /// Whether a rollout's routes are still to be written.
    pub(super) fn lacks(&self, name: &RolloutName) -> bool {
        self.unrouted.contains(name)
    }
}
