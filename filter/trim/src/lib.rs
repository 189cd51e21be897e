//! Leaves in a Proxy-Wasm module only the exports that it needs, and drops the code that nothing reaches then.
//!
//! A proxy enters the VM for each callback that a module exports, wanted or not, and an entry costs microseconds; the
//! Rust SDK exports every callback there is, and a linker keeps every export. So it has to be done after the link.

use thiserror::Error;
use walrus::{ExportId, ExportItem, Module, ModuleConfig};

/// Exports that begin so are the filter's own entry points: `serin_on_log` is to become `proxy_on_log`.
pub const OURS: &str = "serin_on_";

/// What the names of entry points begin with for a Proxy-Wasm host.
pub const HOST: &str = "proxy_on_";

/// What a Proxy-Wasm host needs beside entry points: the memory, the start function, the mark of the ABI, and the
/// allocator for what host calls return (Proxy-Wasm ABI 0.2.1).
pub const NEEDED: [&str; 4] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
];

/// Why a module cannot be trimmed.
#[derive(Debug, Error)]
pub enum Error {
    /// The bytes are no WebAssembly module, or not a valid one.
    #[error("this is no valid WebAssembly module: {0}")]
    Invalid(String),
    /// An export that is to stay does not exist.
    #[error("the module exports no '{name}'; it exports {there}")]
    Missing {
        /// The name that was asked for.
        name: String,
        /// The names that exist, joined for reading.
        there: String,
    },
    /// Two exports are to get one name.
    #[error("two exports are to be renamed to '{0}': a name can be given once")]
    Taken(String),
}

/// Which exports stay; all others go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of exports that stay as they are.
    pub keep: Vec<String>,
    /// Exports that stay under another name, as (present name, new name). An export that bears the new name already
    /// gives way.
    pub rename: Vec<(String, String)>,
}

/// A parsed module.
#[derive(Debug)]
pub struct Trimmer(Module);

impl Trimmer {
    /// Reads and validates a module.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(wasm: &[u8]) -> Result<Self, Error> {
        let mut config = ModuleConfig::new();
        config
            .generate_name_section(false)
            .generate_producers_section(false);
        let module = config
            .parse(wasm)
            .map_err(|error| Error::Invalid(format!("{error:#}")))?;
        Ok(Self(module))
    }

    /// Names of the exports, in their order.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        self.0.exports.iter().map(|export| export.name.as_str())
    }

    /// The selection that goes without saying: where the module has entry points of its own ([`OURS`]), these, renamed
    /// for the host, and what the host needs beside them ([`NEEDED`]); else everything.
    #[must_use]
    pub fn convention(&self) -> Selection {
        let rename: Vec<_> = self
            .exports()
            .filter_map(|name| {
                let callback = name.strip_prefix(OURS)?;
                Some((name.to_owned(), format!("{HOST}{callback}")))
            })
            .collect();
        let keep = if rename.is_empty() {
            self.exports().map(str::to_owned).collect()
        } else {
            NEEDED.map(str::to_owned).to_vec()
        };
        Selection { keep, rename }
    }

    /// Drops all exports but the selected ones, the code that only others reached, names, and debug
    /// information, and returns what is left as a module.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Taken`].
    pub fn trim(mut self, selection: &Selection) -> Result<Vec<u8>, Error> {
        let mut chosen: Vec<(String, ExportItem)> = Vec::new();
        for (from, to) in &selection.rename {
            if chosen.iter().any(|(name, _)| name == to) {
                return Err(Error::Taken(to.clone()));
            }
            chosen.push((to.clone(), self.item(from)?));
        }
        for name in &selection.keep {
            let item = self.item(name)?;
            // A renamed export is meant to stand in for the one that had its name.
            if chosen.iter().all(|(taken, _)| taken != name) {
                chosen.push((name.clone(), item));
            }
        }
        let exports = &mut self.0.exports;
        let old: Vec<ExportId> = exports.iter().map(walrus::Export::id).collect();
        for id in old {
            exports.delete(id);
        }
        for (name, item) in chosen {
            exports.add(&name, item);
        }
        let custom: Vec<_> = self.0.customs.iter().map(|(id, _)| id).collect();
        for id in custom {
            self.0.customs.delete(id);
        }
        walrus::passes::gc::run(&mut self.0);
        Ok(self.0.emit_wasm())
    }

    fn item(&self, name: &str) -> Result<ExportItem, Error> {
        let mut exports = self.0.exports.iter();
        let found = exports.find(|export| export.name == name);
        found
            .map(|export| export.item)
            .ok_or_else(|| Error::Missing {
                name: name.to_owned(),
                there: self.names(),
            })
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.exports().map(|name| format!("'{name}'")).collect();
        if names.is_empty() {
            return "nothing".to_owned();
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
