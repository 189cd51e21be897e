//! Watches from outside what the controller writes, in the order that the API server gave it: weights in status and in
//! the plugin's object. What nobody would notice for long, such as a weight that jumps for a moment, it has seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::plugin;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::cluster::watch::{api_resource, value};
use serin_controller::rollout::RolloutState;
use tokio::task::JoinSet;

use super::istiod::ROOT_NAMESPACE;
use super::mesh::{MODELS, Mesh};

/// Position of the new version in a bucket table.
const CANARY: u8 = 1;

/// What was seen, by the API server's number of the write.
#[derive(Debug, Default)]
struct Book {
    /// The share in a rollout's status, in 1/10 000, none where there is no release; and whether it was read from a list,
    /// which leaves out what was written before.
    statuses: BTreeMap<(String, u64), (Option<u16>, bool)>,
    /// The shares in the plugin's object by rollout, and its generation.
    plugins: BTreeMap<u64, (u64, BTreeMap<String, u16>)>,
    /// The sections that each generation was given out with.
    contents: BTreeMap<u64, Vec<String>>,
}

/// Watches until it is dropped; the API server may be away meanwhile.
#[derive(Debug)]
pub struct Witness {
    book: Arc<Mutex<Book>>,
    _watches: JoinSet<()>,
}

impl Witness {
    /// Starts watching.
    ///
    /// # Errors
    /// When there is no client.
    pub async fn start(mesh: &Mesh) -> Result<Witness> {
        let client = mesh.control_plane.client().await?;
        let book = Arc::new(Mutex::new(Book::default()));
        let mut watches = JoinSet::new();
        let rollouts = Api::<ModelRollout>::namespaced(client.clone(), MODELS);
        let seen = Arc::clone(&book);
        let events = watcher(rollouts, watcher::Config::default());
        watches.spawn(follow(events, move |resource: ModelRollout, listed| {
            lock(&seen).note_status(&resource, listed);
        }));
        let kind = api_resource(Kind::TrafficExtension);
        let plugins = Api::namespaced_with(client, ROOT_NAMESPACE, &kind);
        let seen = Arc::clone(&book);
        let events = watcher(plugins, watcher::Config::default());
        watches.spawn(follow(events, move |object, _| {
            let version = version_of(&object);
            lock(&seen).note_plugin(version, &value(object));
        }));
        Ok(Witness {
            book,
            _watches: watches,
        })
    }

    /// The shares of the new version that the proxies were given, in 1/10 000 and without repetitions.
    #[must_use]
    pub fn shares(&self, rollout: &str) -> Vec<u16> {
        let book = lock(&self.book);
        let plugins = book.plugins.values();
        let mut shares: Vec<u16> = plugins
            .filter_map(|(_, shares)| shares.get(rollout).copied())
            .collect();
        shares.dedup();
        shares
    }

    /// Checks what must hold of every release, however disturbed: the proxies were never given more than was in status
    /// by then, a generation never meant two things, and none was given out after a later one.
    ///
    /// # Errors
    /// What did not hold.
    pub fn check(&self) -> Result<()> {
        let book = lock(&self.book);
        ensure!(!book.plugins.is_empty(), "the plugin was never seen");
        let mut last = 0;
        for (version, (generation, shares)) in &book.plugins {
            ensure!(
                *generation >= last,
                "generation {generation} was given out after {last}"
            );
            last = *generation;
            for (rollout, share) in shares {
                book.check_share(*version, rollout, *share)?;
            }
        }
        for (generation, contents) in &book.contents {
            ensure!(
                contents.len() == 1,
                "generation {generation} was given out with {contents:#?}"
            );
        }
        Ok(())
    }
}

impl Book {
    fn note_status(&mut self, resource: &ModelRollout, listed: bool) {
        let status = resource.status.as_ref();
        let checkpoint = status.and_then(|it| it.checkpoint.as_deref());
        let Some(checkpoint) = checkpoint else { return };
        let state = serde_json::from_str::<RolloutState>(checkpoint);
        let share = state.ok().and_then(|state| {
            let release = state.release?;
            Some(release.table.share(CANARY))
        });
        let name = resource.metadata.name.clone().unwrap_or_default();
        let full = format!("{MODELS}/{name}");
        let version = version_of(resource);
        self.statuses.insert((full, version), (share, listed));
    }

    fn note_plugin(&mut self, version: u64, object: &serde_json::Value) {
        let Some(config) = plugin::config_in(object) else {
            return;
        };
        let text = serde_json::to_string(&config.rollouts).unwrap_or_default();
        let contents = self.contents.entry(config.generation).or_default();
        if !contents.contains(&text) {
            contents.push(text);
        }
        let shares = config.rollouts.into_iter();
        let shares = shares.map(|it| (it.name, it.table.share(CANARY)));
        self.plugins
            .insert(version, (config.generation, shares.collect()));
    }

    fn check_share(&self, version: u64, rollout: &str, share: u16) -> Result<()> {
        let key = |version| (rollout.to_owned(), version);
        let before = self.statuses.range(key(0)..=key(version)).next_back();
        let after = self.statuses.range(key(version + 1)..=key(u64::MAX)).next();
        let after = after.filter(|(_, (_, listed))| *listed || before.is_none());
        let known = before.into_iter().chain(after);
        let most = known.filter_map(|(_, (share, _))| *share).max();
        match most {
            Some(most) if share <= most => Ok(()),
            None if share == 0 => Ok(()),
            _ => bail!(
                "the proxies were given {share} of {rollout} in write {version}, but status said {most:?}: {:#?}",
                self.statuses
            ),
        }
    }
}

/// A watch that is back at once: what the controller does in its first moments after an outage must not be missed.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

async fn follow<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    mut note: impl FnMut(K, bool) + Send,
) where
    K: Resource + Clone + std::fmt::Debug + Send + 'static,
{
    let mut events = std::pin::pin!(events.backoff(Soon));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => note(object, false),
            Ok(Event::InitApply(object)) => note(object, true),
            // What goes wrong is tried again by itself: the API server is meant to be away.
            _ => {}
        }
    }
}

fn version_of(object: &impl Resource) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version
        .context("no version")
        .and_then(|it| Ok(it.parse()?))
        .unwrap_or_default()
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
