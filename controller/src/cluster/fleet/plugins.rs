//! What the proxies are given: the sections of each plugin object. A section is an [`Arc`], and an object is put together
//! and compared only when one of its sections has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serin_filter_core::config::{FilterConfig, RolloutConfig};

use super::Settings;
use crate::cluster::object::{ObjectId, Owned, Present, Print};
use crate::cluster::plugin;
use crate::validate::RolloutName;

/// A rollout's part of a plugin config, and how large it is.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// As the proxies get it.
    pub(super) config: Arc<RolloutConfig>,
    /// Of it as JSON.
    pub(super) bytes: usize,
}

impl Section {
    pub(super) fn of(config: Arc<RolloutConfig>) -> Self {
        // A config of numbers, texts and lists is always JSON.
        let bytes = serde_json::to_string(&*config).map_or(0, |text| text.len());
        Self { config, bytes }
    }
}

/// One plugin object as it should be.
#[derive(Clone, Debug, Default)]
struct Plugin {
    sections: BTreeMap<RolloutName, Section>,
    /// Of all sections.
    bytes: usize,
    generation: u64,
    /// Of all that; none as long as nothing is in it.
    print: Option<Print>,
}

/// All of them, by namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Plugins {
    by_namespace: BTreeMap<String, Plugin>,
    /// Where a rollout's section is.
    places: BTreeSet<(RolloutName, String)>,
    /// Accepted, and not among the sections yet: where it will be, and how large.
    expected: BTreeMap<RolloutName, (Vec<String>, usize)>,
    expected_bytes: BTreeMap<String, usize>,
    /// The highest generation so far.
    pub(super) generation: u64,
}

/// Why a section cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// Where.
    pub(super) namespace: String,
    /// Bytes of the object with it.
    pub(super) object: usize,
}

impl Plugins {
    /// Takes over what is on the server. Rollouts that it holds.
    pub(super) fn learn(
        &mut self,
        settings: &Settings,
        namespace: &str,
        config: FilterConfig,
    ) -> Vec<RolloutName> {
        let mut known = Plugin {
            generation: config.generation,
            ..Plugin::default()
        };
        for section in config.rollouts {
            let Some(name) = plugin::name(&section.name) else {
                continue;
            };
            // A copy, as of a checkpoint: without the room in which it was parsed.
            let section = Section::of(Arc::new(section.clone()));
            known.bytes += section.bytes;
            self.places.insert((name.clone(), namespace.to_owned()));
            known.sections.insert(name, section);
        }
        let names = known.sections.keys().cloned().collect();
        known.seal(settings, namespace);
        self.by_namespace.insert(namespace.to_owned(), known);
        names
    }

    /// Generation of a namespace's object; none: nothing is known of it.
    pub(super) fn generation_of(&self, namespace: &str) -> Option<u64> {
        self.by_namespace.get(namespace).map(|it| it.generation)
    }

    /// Whether this is what the proxies of a namespace are given.
    pub(super) fn gives(&self, namespace: &str, config: &FilterConfig) -> bool {
        self.by_namespace.get(namespace).is_some_and(|plugin| {
            let sections = plugin.sections.values().map(|it| &*it.config);
            plugin.generation == config.generation && sections.eq(config.rollouts.iter())
        })
    }

    /// The next generation, for a namespace and those that its rollouts are in as well. Rollouts that it holds.
    pub(super) fn renumber(&mut self, settings: &Settings, namespace: &str) -> Vec<RolloutName> {
        let plugin = self.by_namespace.get(namespace).into_iter();
        let names: Vec<_> = plugin.flat_map(|it| it.sections.keys().cloned()).collect();
        let places = names.iter().flat_map(|name| self.places_of(name));
        let mut changed: BTreeSet<_> = places.cloned().collect();
        changed.insert(namespace.to_owned());
        self.number(settings, &changed);
        names
    }

    /// Namespaces that hold a rollout.
    fn places_of<'a>(&'a self, name: &'a RolloutName) -> impl Iterator<Item = &'a String> {
        let begin = (name.clone(), String::new());
        let found = self.places.range(begin..);
        found
            .take_while(move |(it, _)| it == name)
            .map(|(_, namespace)| namespace)
    }

    /// The section that the proxies have, and a generation in which all of them have it: the namespaces of a rollout are
    /// numbered together when its section changes, and each of them on its own when another's does.
    pub(super) fn section(&self, name: &RolloutName) -> Option<(&Arc<RolloutConfig>, u64)> {
        let plugins = || {
            self.places_of(name)
                .filter_map(|it| self.by_namespace.get(it))
        };
        let newest = plugins().max_by_key(|it| it.generation)?;
        let oldest = plugins().map(|it| it.generation).min()?;
        Some((&newest.sections.get(name)?.config, oldest))
    }

    /// A rollout's section is this in these namespaces, and in no other. Namespaces that need another number for it, and
    /// whether the section is news in any of its own.
    pub(super) fn put(
        &mut self,
        name: &RolloutName,
        section: Option<&Section>,
        namespaces: &[String],
    ) -> (BTreeSet<String>, bool) {
        let wanted = if section.is_some() { namespaces } else { &[] };
        let mut changed = BTreeSet::new();
        let left: Vec<_> = self
            .places_of(name)
            .filter(|it| !wanted.contains(it))
            .cloned()
            .collect();
        for namespace in left {
            self.places.remove(&(name.clone(), namespace.clone()));
            if let Some(plugin) = self.by_namespace.get_mut(&namespace) {
                let gone = plugin.sections.remove(name);
                plugin.bytes -= gone.map_or(0, |it| it.bytes);
            }
            changed.insert(namespace);
        }
        let Some(section) = section else {
            return (changed, false);
        };
        let mut news = false;
        for namespace in wanted {
            let plugin = self.by_namespace.entry(namespace.clone()).or_default();
            let known = plugin.sections.get(name);
            if known.is_some_and(|it| it.config == section.config) {
                continue;
            }
            let before = plugin.sections.insert(name.clone(), section.clone());
            plugin.bytes = plugin.bytes - before.map_or(0, |it| it.bytes) + section.bytes;
            self.places.insert((name.clone(), namespace.clone()));
            news = true;
        }
        if news {
            // All of them: it is one number by which the proxies of all are asked.
            changed.extend(wanted.iter().cloned());
        }
        (changed, news)
    }

    /// Gives these namespaces the next generation.
    pub(super) fn number(&mut self, settings: &Settings, changed: &BTreeSet<String>) {
        if changed.is_empty() {
            return;
        }
        self.generation += 1;
        for namespace in changed {
            if let Some(plugin) = self.by_namespace.get_mut(namespace) {
                plugin.generation = self.generation;
                plugin.seal(settings, namespace);
            }
        }
    }

    /// Whether there is room for a rollout's next section. One that does not grow always has it.
    pub(super) fn room(
        &self,
        settings: &Settings,
        name: &RolloutName,
        bytes: usize,
        namespaces: &[String],
    ) -> Result<(), TooLarge> {
        for namespace in namespaces {
            let plugin = self.by_namespace.get(namespace);
            let own = plugin
                .and_then(|it| it.sections.get(name))
                .map_or(0, |it| it.bytes);
            if bytes <= own {
                continue;
            }
            let expected = self.expected_bytes.get(namespace).copied().unwrap_or(0);
            let mine = self.expected.get(name);
            let mine = mine.filter(|(places, _)| places.contains(namespace));
            let expected = expected - mine.map_or(0, |(_, bytes)| *bytes);
            let others = plugin.map_or(0, |it| it.bytes + it.sections.len()) - own;
            let object = plugin::frame(settings.kind, &settings.module, settings.encoding)
                + others
                + expected
                + bytes;
            if object > plugin::LIMIT {
                return Err(TooLarge {
                    namespace: namespace.clone(),
                    object,
                });
            }
        }
        Ok(())
    }

    /// A rollout is to have a section of this size soon.
    pub(super) fn expect(&mut self, name: &RolloutName, bytes: usize, places: Vec<String>) {
        self.arrived(name);
        for namespace in &places {
            *self.expected_bytes.entry(namespace.clone()).or_default() += bytes;
        }
        self.expected.insert(name.clone(), (places, bytes));
    }

    /// It has it, or is gone.
    pub(super) fn arrived(&mut self, name: &RolloutName) {
        let Some((places, bytes)) = self.expected.remove(name) else {
            return;
        };
        for namespace in places {
            if let Some(sum) = self.expected_bytes.get_mut(&namespace) {
                *sum -= bytes;
            }
        }
    }

    /// Namespaces whose object is not as it should be.
    pub(super) fn missing<'a>(
        &'a self,
        settings: &'a Settings,
        present: &'a BTreeMap<ObjectId, Present>,
    ) -> impl Iterator<Item = &'a String> {
        let all = self.by_namespace.iter();
        let missing = all.filter(move |(namespace, plugin)| {
            !plugin.is(present.get(&plugin::id(settings.kind, namespace)))
        });
        missing.map(|(namespace, _)| namespace)
    }

    /// Whether nothing is to be in the object of a namespace.
    pub(super) fn is_empty(&self, namespace: &str) -> bool {
        let plugin = self.by_namespace.get(namespace);
        plugin.is_none_or(|it| it.sections.is_empty())
    }

    /// Whether the object of a namespace is as it should be.
    pub(super) fn is_written(
        &self,
        settings: &Settings,
        namespace: &str,
        present: &BTreeMap<ObjectId, Present>,
    ) -> bool {
        let there = present.get(&plugin::id(settings.kind, namespace));
        self.by_namespace
            .get(namespace)
            .is_none_or(|plugin| plugin.is(there))
    }

    /// The object of a namespace as it should be.
    pub(super) fn object(&self, settings: &Settings, namespace: &str) -> Option<Owned> {
        let plugin = self.by_namespace.get(namespace)?;
        Some(plugin.object(settings, namespace))
    }
}

impl Plugin {
    fn seal(&mut self, settings: &Settings, namespace: &str) {
        self.print = Some(Print::of(&self.object(settings, namespace).object));
    }

    /// Whether the server has it like this. An object that was never needed is none.
    fn is(&self, there: Option<&Present>) -> bool {
        match (there, &self.print) {
            (Some(there), Some(print)) => there.print.is(print),
            (None, _) => self.sections.is_empty(),
            (Some(_), None) => false,
        }
    }

    fn object(&self, settings: &Settings, namespace: &str) -> Owned {
        let sections = self.sections.values().map(|it| (*it.config).clone());
        let config = plugin::config(sections.collect(), self.generation, settings.encoding);
        plugin::object(settings.kind, namespace, &settings.module, &config)
    }
}
