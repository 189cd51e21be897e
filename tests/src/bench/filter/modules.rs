//! The Wasm modules that are compared.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serin_trim::{HOST, OURS, Selection, Trimmer};

use crate::tools;

/// Files with the modules.
#[derive(Debug)]
pub struct Modules {
    /// The filter as it is shipped.
    pub serin: PathBuf,
    /// The filter that does nothing, with all exports of the SDK.
    pub noop_full: PathBuf,
    /// The filter that does nothing, with the exports that the shipped one has, and its way to have them.
    pub noop_ours: PathBuf,
    /// Names and files of other builds of the filter.
    pub beside: Vec<(String, PathBuf)>,
}

impl Modules {
    /// Builds all but those `beside`; what is not cargo's own goes into `folder`.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn build(folder: &Path, beside: Vec<(String, PathBuf)>) -> Result<Modules> {
        let (serin, built) = (tools::filter()?, tools::noop()?);
        let read = |path: &Path| {
            fs::read(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let noop = read(&built)?;
        let exports = all_of_sdk(&Trimmer::parse(&noop)?);
        let noop_full = write(folder, "noop-full.wasm", &noop, &exports)?;
        let exports = same_as(&Trimmer::parse(&read(&serin)?)?, &Trimmer::parse(&noop)?);
        let noop_ours = write(folder, "noop-ours.wasm", &noop, &exports)?;
        Ok(Modules {
            serin,
            noop_full,
            noop_ours,
            beside,
        })
    }

    /// What each is called, and its size in bytes.
    ///
    /// # Errors
    /// When a file is gone.
    pub fn sizes(&self) -> Result<Vec<(String, u64)>> {
        let named = [
            ("Serin", &self.serin),
            ("no-op, all exports of the SDK", &self.noop_full),
            ("no-op, the exports of Serin", &self.noop_ours),
        ];
        let beside = self.beside.iter().map(|(name, path)| (name.as_str(), path));
        let size = |(name, path): (&str, &PathBuf)| {
            let read = || format!("failed to read {}", path.display());
            Ok((
                name.to_owned(),
                fs::metadata(path).with_context(read)?.len(),
            ))
        };
        named.into_iter().chain(beside).map(size).collect()
    }
}

fn write(folder: &Path, name: &str, wasm: &[u8], selection: &Selection) -> Result<PathBuf> {
    let path = folder.join(name);
    let trimmed = Trimmer::parse(wasm)?.trim(selection)?;
    fs::write(&path, trimmed).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// Everything but the entry points that bypass the SDK.
fn all_of_sdk(noop: &Trimmer) -> Selection {
    let keep = noop.exports().filter(|name| !name.starts_with(OURS));
    Selection {
        keep: keep.map(str::to_owned).collect(),
        rename: Vec::new(),
    }
}

/// The exports that the other module has: by an entry point that bypasses the SDK where there is one.
fn same_as(other: &Trimmer, noop: &Trimmer) -> Selection {
    let has = |wanted: &str| noop.exports().any(|name| name == wanted);
    let mut selection = Selection::default();
    for name in other.exports() {
        let own = name.strip_prefix(HOST).map(|it| format!("{OURS}{it}"));
        match own.filter(|own| has(own)) {
            Some(own) => selection.rename.push((own, name.to_owned())),
            None if has(name) => selection.keep.push(name.to_owned()),
            // Such as a linker's mark: no host calls it.
            None => {}
        }
    }
    selection
}
