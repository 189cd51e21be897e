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
use crate::ticks;

/// How long a piece of a long configuration may hold up the requests of the worker.
const PIECE: Duration = Duration::from_millis(4);
/// Rollouts that are compiled between two looks at the clock.
const BATCH: usize = 16;

/// A configuration and its metrics; by default the pass-through, which only removes the filter's own headers.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) table: RoutingTable,
    pub(crate) metrics: Metrics,
}

impl Loaded {
    fn new(table: RoutingTable) -> Self {
        let metrics = Metrics::new(&table);
        Self { table, metrics }
    }
}

/// A configuration that is being compiled.
struct Loading {
    json: Vec<u8>,
    parts: Parts,
    next: usize,
    builder: Builder,
}

/// What one plugin of this VM does. VMs are shared by plugins of the same code, and their requests must not be mixed up.
#[derive(Default)]
struct Plugin {
    name: Vec<u8>,
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
/// go on with, by [`go_on`].
pub(crate) fn configure(size: usize) {
    let json = host::configuration(size);
    let name = host::plugin_name();
    PLUGINS.with_borrow_mut(|plugins| {
        let known = plugins.iter().position(|plugin| plugin.name == name);
        let at = known.unwrap_or(plugins.len());
        if known.is_none() {
            plugins.push(Plugin {
                name,
                ..Plugin::default()
            });
        }
        if let Some(plugin) = plugins.get_mut(at) {
            plugin.begin(json);
        }
    });
}

/// Compiles the next piece of what is being compiled; returns whether there is more.
pub(crate) fn go_on() -> bool {
    PLUGINS.with_borrow_mut(|plugins| {
        plugins.iter_mut().for_each(|plugin| plugin.go_on(PIECE));
        plugins.iter().any(|plugin| plugin.loading.is_some())
    })
}

impl Plugin {
    fn begin(&mut self, json: Vec<u8>) {
        match Loading::begin(json) {
            Ok(loading) => self.loading = Some(loading),
            Err((json, error)) => return self.refuse(&json, &error),
        }
        // Nobody waits for a first configuration but the proxy itself.
        self.go_on(if self.good { PIECE } else { Duration::MAX });
        if self.loading.is_some() {
            ticks::soon();
        }
    }

    fn go_on(&mut self, limit: Duration) {
        let Some(mut loading) = self.loading.take() else {
            return;
        };
        let start = host::now();
        loop {
            match loading.batch() {
                Err(error) => return self.refuse(&loading.json, &error),
                Ok(true) => break,
                Ok(false) if host::since(start) >= limit => {
                    self.loading = Some(loading);
                    return;
                }
                Ok(false) => {}
            }
        }
        host::keep_good(&loading.json);
        self.adopt(Rc::new(Loaded::new(loading.builder.finish())), false);
        self.good = true;
    }

    /// Goes on with the last good configuration: this VM's own, or the one that the proxy keeps for a VM that is new.
    fn refuse(&mut self, json: &[u8], error: &ConfigError) {
        self.loading = None;
        if !self.good
            && let Some(kept) = host::good().and_then(compile)
        {
            self.good = true;
            self.loaded = Rc::new(Loaded::new(kept));
        }
        let generation = self.loaded.table.generation();
        if host::refused_first(json, generation) {
            match generation {
                0 => log::warn!("serin: {error}; all requests take the default route"),
                good => log::warn!("serin: {error}; generation {good} stays in use"),
            }
        }
        self.adopt(Rc::clone(&self.loaded), true);
    }

    fn adopt(&mut self, loaded: Rc<Loaded>, refused: bool) {
        fuses::retain(&loaded.table);
        set_gauge(stat::CONFIG_INVALID, u64::from(refused));
        set_gauge(stat::CONFIG_GENERATION, loaded.table.generation());
        self.loaded = loaded;
    }
}

impl Loading {
    fn begin(json: Vec<u8>) -> Result<Self, (Vec<u8>, ConfigError)> {
        let begun = Parts::parse(&json).and_then(|parts| {
            let builder = Builder::new(&parts.head, parts.rollouts.len())?;
            Ok((parts, builder))
        });
        match begun {
            Ok((parts, builder)) => Ok(Self {
                json,
                parts,
                next: 0,
                builder,
            }),
            Err(error) => Err((json, error)),
        }
    }

    /// Compiles a few rollouts; returns whether these were the last.
    fn batch(&mut self) -> Result<bool, ConfigError> {
        for _ in 0..BATCH {
            let Some(rollout) = self.parts.rollout(&self.json, self.next) else {
                return Ok(true);
            };
            self.builder.add(rollout?)?;
            self.next = self.next.saturating_add(1);
        }
        Ok(false)
    }
}

fn compile(json: Vec<u8>) -> Option<RoutingTable> {
    let mut loading = Loading::begin(json).ok()?;
    while !loading.batch().ok()? {}
    Some(loading.builder.finish())
}
