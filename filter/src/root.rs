//! The configuration: compiled once per VM, shared by the requests that begin with it.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use serin_filter_core::config::{ConfigError, FilterConfig};
use serin_filter_core::stat;
use serin_filter_core::table::RoutingTable;

use crate::host;
use crate::http::Exchange;
use crate::metrics::{Metrics, set_gauge};

thread_local! {
    /// The last configuration in use that was good, compiled. A new one comes with a new root context in the same VM,
    /// so what has to survive a bad one lives here.
    static LAST_GOOD: RefCell<Option<Rc<Loaded>>> = const { RefCell::new(None) };
}

/// A configuration and its metrics; by default the pass-through, which only removes the route header.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) table: RoutingTable,
    pub(crate) metrics: Metrics,
}

impl Loaded {
    fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let table = RoutingTable::new(FilterConfig::parse(json)?)?;
        let metrics = Metrics::new(&table);
        Ok(Self { table, metrics })
    }
}

/// The configuration to go on with: this VM's own, or the one that the proxy keeps for a VM that is new.
fn last_good() -> Option<Rc<Loaded>> {
    let own = LAST_GOOD.with_borrow(Clone::clone);
    own.or_else(|| Some(Rc::new(Loaded::parse(&host::good()?).ok()?)))
}

/// One configuration in one VM.
#[derive(Default)]
pub(crate) struct Root {
    loaded: Rc<Loaded>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Takes a configuration over, or goes on with the last good one. The answer is always "fine": Envoy turns a
    /// refusal of the first configuration into a 500 for every request of the proxy.
    fn on_configure(&mut self, size: usize) -> bool {
        let json = host::configuration(size);
        let parsed = Loaded::parse(&json);
        set_gauge(stat::CONFIG_INVALID, u64::from(parsed.is_err()));
        let loaded = match parsed {
            Ok(loaded) => {
                host::keep_good(&json);
                Some(Rc::new(loaded))
            }
            Err(error) => {
                let last_good = last_good();
                let generation = last_good.as_ref().map_or(0, |it| it.table.generation());
                if host::refused_first(&json, generation) {
                    match generation {
                        0 => log::warn!("serin: {error}; all requests take the default route"),
                        good => log::warn!("serin: {error}; generation {good} stays in use"),
                    }
                }
                last_good
            }
        };
        LAST_GOOD.set(loaded.clone());
        self.loaded = loaded.unwrap_or_default();
        set_gauge(stat::CONFIG_GENERATION, self.loaded.table.generation());
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange::new(Rc::clone(&self.loaded))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
