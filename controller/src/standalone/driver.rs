//! One tick after another: read, decide, write. All decisions are made by the pure modules; this file performs them.

mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serin_filter_core::config::{FilterConfig, RolloutConfig};
use serin_filter_core::stat::Encoding;

use super::folder;
use super::store::{ControllerFile, StateFile, Store, StoreError};
use crate::cells::Grid;
use crate::driver::{Ask, Managed, Sight, Surroundings, World, advance, chain};
use crate::endpoint::Board;
use crate::prometheus::{Client, Selectors};
use crate::render;
use crate::rollout::{RolloutState, Writes};
use crate::validate::RolloutName;

/// What the driver is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The filter, as Envoy finds it.
    pub wasm: PathBuf,
    /// Cells.
    pub grid: Grid,
    /// Which scrape targets are the proxies.
    pub selectors: Selectors,
    /// How labels travel in the names of the proxies' metrics.
    pub encoding: Encoding,
    /// Where the endpoint listens, for the command line.
    pub address: String,
    /// How many releases may be in progress at once; `None`: any number.
    pub max_releases: Option<usize>,
}

/// Why the driver cannot take up a folder.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file.
    #[error("failed to take up the folder")]
    Store(#[source] StoreError),
    /// Cells are numbered by the grid: on another one the evidence could neither go on nor be counted again.
    #[error(
        "rollout '{rollout}' has a release in progress on cells of {theirs:?}: start with '--cell' as before, and change it when no release is in progress"
    )]
    Grid {
        /// Which rollout.
        rollout: RolloutName,
        /// The cell that its evidence is counted in.
        theirs: std::time::Duration,
    },
}

/// All rollouts of a folder.
#[derive(Debug)]
pub struct Driver {
    settings: Settings,
    store: Store,
    client: Client,
    board: Board,
    rollouts: BTreeMap<RolloutName, Managed>,
    /// As last rendered.
    sections: Vec<RolloutConfig>,
    /// As last rendered; none before the first config.
    encoding: Option<Encoding>,
    generation: u64,
    /// Virtual hosts that no rollout owns: found at the start, or dropped from a file. What they serve is live, and
    /// whoever wants them gone removes them from Envoy's file while the controller is stopped.
    inherited: Vec<Value>,
    /// Mistakes in files of no known rollout.
    problems: Vec<String>,
    /// Whether the last tick that asked Prometheus had an answer.
    blind: bool,
}

impl Driver {
    /// Takes up where the last controller stopped, wherever that was.
    ///
    /// # Errors
    /// A state file cannot be read (starting on half a memory could move weights), or the grid is another one.
    pub fn load(
        settings: Settings,
        store: Store,
        client: Client,
        board: Board,
    ) -> Result<Self, LoadError> {
        let controller = store
            .controller()
            .map_err(LoadError::Store)?
            .unwrap_or_default();
        let ecds = store.read_envoy(&store.ecds());
        let text = ecds.as_ref().and_then(render::plugin_config);
        let rendered = text.and_then(|text| FilterConfig::parse(text.as_bytes()).ok());
        let encoding = rendered.as_ref().map(|config| config.stats);
        let (sections, on_disk) = rendered.map_or((Vec::new(), 0), |config| {
            (config.rollouts, config.generation)
        });
        let states = store.states().map_err(LoadError::Store)?;
        let rollouts: BTreeMap<_, _> = states
            .into_iter()
            // Its evidence is written soon: a file more costs nothing.
            .map(|file| Managed::restore(file.state, file.file, Timestamp::UNIX_EPOCH))
            .map(|managed| (managed.state.name.clone(), managed))
            .collect();
        for (name, managed) in &rollouts {
            if let Some(release) = managed
                .state
                .in_progress()
                .filter(|release| !release.is_counted_on(settings.grid))
            {
                return Err(LoadError::Grid {
                    rollout: name.clone(),
                    theirs: release.grid.cell(),
                });
            }
        }
        let on_disk_routes = store.read_envoy(&store.rds());
        let mut inherited = on_disk_routes
            .map(|rds| render::virtual_hosts(&rds))
            .unwrap_or_default();
        let owned = |host: &Value| {
            rollouts
                .values()
                .any(|managed: &Managed| render::owns(&managed.state, host))
        };
        inherited.retain(|host| !owned(host));
        let mut driver = Self {
            settings,
            rollouts,
            store,
            client,
            board,
            sections,
            encoding,
            // A lost plugin config must not make the generation go back: proxies would seem to be ahead of it.
            generation: on_disk.max(controller.generation),
            inherited,
            problems: Vec::new(),
            blind: false,
        };
        // Every section on disk was there before this controller: its generation is the file's.
        for managed in driver.rollouts.values_mut() {
            let name = managed.state.name.to_string();
            managed.rendered = driver
                .sections
                .iter()
                .find(|section| section.name == name)
                .cloned()
                .map(Arc::new);
            managed.view.generation = managed.rendered.as_ref().map(|_| driver.generation);
        }
        driver.announce().map_err(LoadError::Store)?;
        Ok(driver)
    }

    /// One tick. Nothing in it ends the controller: what fails is said and tried again in the next one. Dropped while
    /// it waits for Prometheus, it has written nothing by halves.
    pub async fn tick(&mut self, now: Timestamp) {
        match self.store.rollout_files() {
            Ok(texts) => {
                let folder = folder::read(&texts, |file| self.rank(file));
                self.take_over(&folder, now);
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "the rollout files cannot be listed; the known rollouts go on"
                );
            }
        }
        // Before Prometheus is asked, which can take seconds.
        self.answer(now);
        let grid = self.settings.grid;
        let asks = self.rollouts.values().map(|it| Ask::of(it, grid));
        let active: Vec<_> = asks.flatten().collect();
        let world = World::look(&self.client, &self.sight(), &active, now).await;
        self.tell_of(&world);
        let surroundings = Surroundings::whole(grid, &world);
        for managed in self.rollouts.values_mut() {
            advance(managed, &surroundings, &[], now);
        }
        self.perform(now);
        self.post();
    }

    /// Says once that Prometheus does not answer, and once that it does again.
    fn tell_of(&mut self, world: &World) {
        match (&world.proxies, self.blind) {
            (Some(Err(reason)), false) => {
                tracing::warn!(
                    reason,
                    "Prometheus does not answer; weights hold, nothing is rolled back for it"
                );
                self.blind = true;
            }
            (Some(Ok(_)), true) => {
                tracing::info!("Prometheus answers again; the cells meanwhile are counted now");
                self.blind = false;
            }
            _ => {}
        }
    }

    fn post(&self) {
        let rollouts = self.rollouts.values().map(Managed::sources);
        self.board
            .post(rollouts, self.problems.clone(), self.generation);
    }

    /// Consumes the actions that wait, and writes what they and the files have changed. Each is removed only after the state that consumed it is on disk; until then
    /// its id keeps it from acting twice.
    fn answer(&mut self, now: Timestamp) {
        let actions = self.store.actions().unwrap_or_else(|error| {
            tracing::error!(
                error = chain(&error),
                "the actions cannot be read; they are tried again"
            );
            Vec::new()
        });
        let blind = World::default();
        let surroundings = Surroundings::whole(self.settings.grid, &blind);
        for managed in self.rollouts.values_mut() {
            let asked = actions
                .iter()
                .filter(|(_, file)| file.rollout == managed.state.name);
            let asked: Vec<_> = asked.map(|(_, file)| file.action.clone()).collect();
            if !asked.is_empty() {
                advance(managed, &surroundings, &asked, now);
            }
        }
        let written = self.perform(now);
        for (path, file) in &actions {
            let known = self.rollouts.contains_key(&file.rollout);
            if !known {
                tracing::warn!(rollout = %file.rollout, "action on an unknown rollout dropped");
            }
            if (written || !known)
                && let Err(error) = self.store.remove_action(path)
            {
                tracing::error!(
                    error = chain(&error),
                    "a consumed action cannot be removed; its id is remembered"
                );
            }
        }
        if !actions.is_empty() {
            self.post();
        }
    }

    /// Writes what has to be written, in the order that loses nothing: going up, the state before the weight; going
    /// down, the weight before the state. `true` when all of it is on disk.
    fn perform(&mut self, now: Timestamp) -> bool {
        let mut all = true;
        for managed in self.rollouts.values_mut() {
            match managed.pending {
                Writes::Nothing => {}
                Writes::State | Writes::Up => all &= save(managed, &self.store, now),
                Writes::Down => managed.show(),
            }
        }
        all &= self.render();
        for managed in self.rollouts.values_mut() {
            let checkpoint = managed.pending == Writes::Nothing && managed.checkpoint_due(now);
            if managed.pending == Writes::Down || checkpoint {
                all &= save(managed, &self.store, now);
            }
        }
        all
    }

    fn render(&mut self) -> bool {
        let shown = || self.rollouts.values().map(|managed| &*managed.shown);
        let sections: Vec<_> = shown().filter_map(render::section).collect();
        let routes = render::rds(shown(), &self.inherited);
        // Other names of the metrics are another config, although all that rollouts ask for is the same.
        let renamed = self.encoding.is_some_and(|it| it != self.settings.encoding);
        self.encoding = Some(self.settings.encoding);
        if sections != self.sections || (renamed && !sections.is_empty()) {
            self.generation += 1;
            self.sections = sections;
            for managed in self.rollouts.values_mut() {
                let section = render::section(&managed.shown).map(Arc::new);
                if section != managed.rendered {
                    managed.view.generation = section.as_ref().map(|_| self.generation);
                    managed.rendered = section;
                }
            }
            if let Err(error) = self.announce() {
                tracing::error!(error = chain(&error), "the generation cannot be remembered");
            }
        }
        let config = FilterConfig {
            stats: self.settings.encoding,
            ..render::filter_config(self.sections.clone(), self.generation)
        };
        let written = serde_json::to_string(&config)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                let ecds = render::ecds(&text, &self.settings.wasm);
                // Routes first: a header that no route knows would end at the default route.
                self.store
                    .write_envoy(&self.store.rds(), &routes)
                    .map_err(|error| chain(&error))?;
                self.store
                    .write_envoy(&self.store.ecds(), &ecds)
                    .map_err(|error| chain(&error))
            });
        match written {
            Ok(changed) => {
                if changed {
                    tracing::debug!(generation = self.generation, "wrote the plugin config");
                }
                true
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "Envoy's files cannot be written; tried again in the next tick"
                );
                false
            }
        }
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            grid: self.settings.grid,
            selectors: &self.settings.selectors,
        }
    }

    fn announce(&self) -> Result<(), StoreError> {
        self.store.save_controller(&ControllerFile {
            address: self.settings.address.clone(),
            generation: self.generation,
        })
    }
}

/// Writes the state file, after which Envoy's files may follow; says so when it fails, and the next tick tries again.
fn save(managed: &mut Managed, store: &Store, now: Timestamp) -> bool {
    let file = StateFile {
        file: managed.file.clone(),
        state: RolloutState::clone(&managed.state),
        status: Some(managed.status()),
    };
    match store.save(&file) {
        Ok(()) => {
            managed.saved(now);
            true
        }
        Err(error) => {
            tracing::error!(
                rollout = %managed.state.name,
                error = chain(&error),
                "the state cannot be written; tried again in the next tick"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests;
