//! Configurations: compiled once per VM, a long one piece by piece, shared by the requests that begin with them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serin_filter_core::config::{ConfigError, Parts};
use serin_filter_core::stat;
use serin_filter_core::table::{Builder, RoutingTable};

use crate::fuses;
use crate::host;
use crate::metrics::{Metrics, set_gauge};

/// How long a piece of a long configuration may hold up the requests of the worker.
const PIECE: Duration = Duration::from_millis(5);
/// After so many bytes of it the clock is looked at: to ask for the time costs as much as a good deal of reading.
const LOOK_EVERY: usize = 4096;
/// What a step costs beside what it reads, in bytes of reading.
const STEP: usize = 64;

/// A configuration and its metrics; by default the pass-through, which only removes the filter's own headers.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) table: RoutingTable,
    pub(crate) metrics: Metrics,
}

impl Loaded {
    fn new(plugin: &str, table: RoutingTable) -> Rc<Self> {
        let metrics = Metrics::new(plugin, &table);
        Rc::new(Self { table, metrics })
    }
}

/// A configuration that is being compiled.
struct Loading {
    json: Vec<u8>,
    parts: Parts,
    builder: Builder,
    /// What was done since the clock was looked at.
    done: usize,
    /// One that this came over, in case that there is something wrong with it: other workers may have the older in use,
    /// and no two may differ for long.
    overtaken: Option<Box<Loading>>,
    /// Whether a later one was refused.
    fallback: bool,
}

/// What one plugin of this VM does. VMs are shared by plugins of the same code, and their requests must not be mixed up.
#[derive(Default)]
struct Plugin {
    name: String,
    loaded: Rc<Loaded>,
    /// Whether `loaded` came from a good configuration.
    good: bool,
    loading: Option<Loading>,
}

thread_local! {
    /// The plugins of this VM, nearly always one: what has to survive a bad configuration, which comes with a new root
    /// context in the same VM, lives here.
    static PLUGINS: RefCell<Vec<Plugin>> = const { RefCell::new(Vec::new()) };
}

/// The configuration for a request that begins now.
pub(crate) fn loaded() -> Rc<Loaded> {
    PLUGINS.with_borrow(|plugins| match plugins.as_slice() {
        [] => Rc::default(),
        [only] => Rc::clone(&only.loaded),
        // A property is dear, but this is rare.
        several => {
            let name = host::plugin_name();
            let mine = several.iter().find(|plugin| plugin.name == name);
            mine.map(|plugin| Rc::clone(&plugin.loaded))
                .unwrap_or_default()
        }
    })
}

/// Takes the configuration over that the proxy has for the plugin, at once or, where it is long and there is another to
/// go on with, by [`go_on`]. Returns whether there is something to go on with.
pub(crate) fn configure(size: usize) -> bool {
    let start = host::now();
    let json = host::configuration(size);
    let name = host::plugin_name();
    PLUGINS.with_borrow_mut(|plugins| {
        let known = plugins.iter_mut().find(|plugin| plugin.name == name);
        match known {
            Some(plugin) => plugin.begin(json, start, PIECE),
            // A VM that is new must not serve without it: nobody would be where they were.
            None => {
                let mut plugin = Plugin {
                    name,
                    ..Plugin::default()
                };
                plugin.begin(json, start, Duration::MAX);
                plugins.push(plugin);
            }
        }
        busy(plugins)
    })
}

/// Compiles the next piece of what is being compiled; returns whether there is more.
pub(crate) fn go_on() -> bool {
    PLUGINS.with_borrow_mut(|plugins| {
        for plugin in plugins.iter_mut() {
            plugin.go_on(host::now(), PIECE);
        }
        busy(plugins)
    })
}

fn busy(plugins: &[Plugin]) -> bool {
    plugins.iter().any(|plugin| plugin.loading.is_some())
}

impl Plugin {
    /// `start`: when the piece began, of which the first look at the text is a good part.
    fn begin(&mut self, json: Vec<u8>, start: Duration, limit: Duration) {
        match Loading::begin(json, &self.loaded.table) {
            Ok(mut loading) => {
                loading.overtaken = self.loading.take().map(|mut older| {
                    older.overtaken = None;
                    Box::new(older)
                });
                self.loading = Some(loading);
                self.go_on(start, limit);
            }
            Err((json, error)) => self.refuse(&json, &error),
        }
    }

    fn go_on(&mut self, start: Duration, limit: Duration) {
        let Some(mut loading) = self.loading.take() else {
            return;
        };
        loop {
            match loading.step() {
                Err(error) => {
                    self.loading = loading.overtaken.map(|older| *older);
                    return self.refuse(&loading.json, &error);
                }
                Ok(true) => break,
                Ok(false) if loading.may_look() && host::now().saturating_sub(start) >= limit => {
                    self.loading = Some(loading);
                    return;
                }
                Ok(false) => {}
            }
        }
        host::keep_good(&self.name, &loading.json);
        let loaded = Loaded::new(&self.name, loading.builder.finish());
        self.adopt(loaded, loading.fallback);
        self.good = true;
    }

    /// Goes on with the last good configuration: this VM's own, which may still be on its way, or the one that the proxy
    /// keeps for a VM that is new.
    fn refuse(&mut self, json: &[u8], error: &ConfigError) {
        if let Some(loading) = &mut self.loading {
            loading.fallback = true;
        }
        if !self.good
            && let Some(kept) = host::good(&self.name).and_then(compile)
        {
            self.good = true;
            self.loaded = Loaded::new(&self.name, kept);
        }
        let generation = self.loaded.table.generation();
        if host::refused_first(&self.name, json, generation) {
            match generation {
                0 => log::warn!("serin: {error}; all requests take the default route"),
                good => log::warn!("serin: {error}; generation {good} stays in use"),
            }
        }
        self.adopt(Rc::clone(&self.loaded), true);
    }

    fn adopt(&mut self, loaded: Rc<Loaded>, refused: bool) {
        fuses::retain(&self.name, &loaded.table);
        set_gauge(stat::CONFIG_INVALID, u64::from(refused));
        set_gauge(stat::CONFIG_GENERATION, loaded.table.generation());
        self.loaded = loaded;
    }
}

impl Loading {
    fn begin(json: Vec<u8>, before: &RoutingTable) -> Result<Self, (Vec<u8>, ConfigError)> {
        let begun = Parts::parse(&json).and_then(|parts| {
            let builder = Builder::after(before, &parts.head, parts.rollouts.len())?;
            Ok((parts, builder))
        });
        match begun {
            Ok((parts, builder)) => Ok(Self {
                json,
                parts,
                builder,
                done: 0,
                overtaken: None,
                fallback: false,
            }),
            Err(error) => Err((json, error)),
        }
    }

    /// Does the next step; returns whether all are done.
    fn step(&mut self) -> Result<bool, ConfigError> {
        let Some(read) = self.builder.step(&self.parts, &self.json)? else {
            return Ok(true);
        };
        self.done = self.done.saturating_add(STEP).saturating_add(read);
        Ok(false)
    }

    /// Whether it is time to look at the clock.
    fn may_look(&mut self) -> bool {
        let enough = self.done >= LOOK_EVERY;
        if enough {
            self.done = 0;
        }
        enough
    }
}

fn compile(json: Vec<u8>) -> Option<RoutingTable> {
    let mut loading = Loading::begin(json, &RoutingTable::default()).ok()?;
    while !loading.step().ok()? {}
    Some(loading.builder.finish())
}
