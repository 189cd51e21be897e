//! The model repository on disk: `DIR/<model>/model.yaml` and `DIR/<model>/<version>/model.pt`.
//!
//! Reading it yields every problem at once, each with the file, what is wrong, why, and what to do. Requests never
//! touch the disk: names in URLs are looked up among what was loaded. A bucket is mirrored into such a folder first.

pub mod changes;
pub mod config_pbtxt;
pub mod description;
pub mod manifest;
pub mod model_yaml;
mod stamp;
pub mod sum;
mod versions;

pub use self::{stamp::Stamp, versions::VersionPolicy};

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{description::Described, manifest::MANIFEST};
use crate::spec::ModelSpec;

/// The file that describes a model.
pub const MODEL_YAML: &str = "model.yaml";
/// The same as Triton has it.
pub const CONFIG_PBTXT: &str = "config.pbtxt";
/// All files that may describe a model.
pub const DESCRIPTIONS: [&str; 2] = [MODEL_YAML, CONFIG_PBTXT];
/// The file of a version.
pub const MODEL_FILE: &str = "model.pt";

/// One version of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name of the model: `[A-Za-z0-9_.-]+`, not beginning with a dot.
    pub model: String,
    /// Version, at least 1.
    pub version: u64,
    /// What the model takes and returns.
    pub spec: Arc<ModelSpec>,
    /// What is written of it and not heeded.
    pub notes: Arc<[String]>,
    /// The TorchScript file.
    pub file: PathBuf,
    /// What the file looked like when the repository was read.
    pub stamp: Stamp,
    /// The same of the sums of the version, if it has any.
    pub manifest: Option<Stamp>,
}

/// One thing wrong in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub file: PathBuf,
    /// Line in the file, from 1, where one is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// Why that is a problem.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// Everything wrong in a repository; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A problem of a whole file or folder.
    pub fn new(
        file: &Path,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.what, self.why, self.fix)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_problems = self.0.len();
        write!(
            f,
            "the model repository has {n_problems} problem{}",
            if n_problems == 1 { "" } else { "s" }
        )?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Reads a repository, sorted by model and version.
///
/// Entries that begin with a dot (Kubernetes keeps its volume links there) and `lost+found` are passed over.
///
/// # Errors
/// [`Problems`] with everything that is wrong.
pub fn read(dir: &Path) -> Result<Vec<Entry>, Problems> {
    let mut reader = Reader::default();
    reader.repository(dir);
    if !reader.problems.is_empty() {
        return Err(Problems(reader.problems));
    }
    reader
        .entries
        .sort_by(|a, b| (&a.model, a.version).cmp(&(&b.model, b.version)));
    Ok(reader.entries)
}

/// Which versions of the model in a folder are served; nothing if that cannot be told.
#[must_use]
pub fn policy(folder: &Path) -> Option<VersionPolicy> {
    description::read(folder).ok().map(|it| it.versions)
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader {
    fn refuse(
        &mut self,
        file: &Path,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.push(Problem::new(file, what, why, fix));
    }

    fn repository(&mut self, dir: &Path) {
        if dir.join(MODEL_YAML).exists() {
            return self.refuse(
                dir,
                "this is one model",
                "--models wants the folder of models",
                "pass its parent folder",
            );
        }
        let Some(folders) = self.folders(dir) else {
            return;
        };
        if folders.is_empty() {
            let fix = format!("add '<model>/{MODEL_YAML}' and '<model>/1/{MODEL_FILE}'");
            return self.refuse(dir, "no models", "there is nothing to serve", fix);
        }
        for (name, folder) in folders {
            if is_model_name(&name) {
                self.model(&name, &folder);
            } else {
                self.refuse(
                    &folder,
                    format!("model name '{name}' is not allowed"),
                    "names go into URLs and headers",
                    "rename it with the characters A-Z a-z 0-9 _ . - only",
                );
            }
        }
    }

    fn model(&mut self, model: &str, folder: &Path) {
        let Some(versions) = self.folders(folder) else {
            return;
        };
        let described = match description::read(folder) {
            Ok(described) => Some(described),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        };
        // A bucket's versions come once it is known which of them are served.
        if versions.is_empty() && described.is_some() {
            let fix = format!("put the model into '1/{MODEL_FILE}'");
            self.refuse(folder, "no versions", "a model is served by version", fix);
        }
        let mut numbered = Vec::new();
        for (name, folder) in versions {
            match parse_version(&name) {
                Some(version) => numbered.push((version, folder)),
                None => self.refuse(
                    &folder,
                    format!("'{name}' is not a version"),
                    "versions are whole numbers from 1, so that the highest is the default",
                    "rename it to such as '7'",
                ),
            }
        }
        numbered.sort();
        // Of a model that is not described nothing is served, but what is wrong with the files is said as well.
        let (described, policy) = match described {
            Some(Described {
                spec,
                versions,
                notes,
            }) => (Some((Arc::new(spec), notes.into())), versions),
            None => (None, VersionPolicy::All),
        };
        let there: Vec<u64> = numbered.iter().map(|(version, _)| *version).collect();
        for version in policy.missing(&there) {
            self.refuse(
                &folder.join(version.to_string()),
                "cannot be read",
                format!(
                    "{MODEL_YAML} or {CONFIG_PBTXT} serves version {version}, which does not exist"
                ),
                "put it there, or take it out of the versions that are named",
            );
        }
        for (version, folder) in numbered {
            if policy.serves(version, &there) {
                let file = folder.join(MODEL_FILE);
                self.version(model, version, described.as_ref(), &file);
            }
        }
    }

    fn version(
        &mut self,
        model: &str,
        version: u64,
        described: Option<&(Arc<ModelSpec>, Arc<[String]>)>,
        file: &Path,
    ) {
        match fs::metadata(file) {
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
                self.refuse(
                    file,
                    "the file is empty",
                    "no model has no bytes",
                    "copy the TorchScript file again",
                );
            }
            Ok(metadata) if metadata.is_file() => {
                if let Some((spec, notes)) = described {
                    self.entries.push(Entry {
                        model: model.to_owned(),
                        version,
                        spec: Arc::clone(spec),
                        notes: Arc::clone(notes),
                        file: file.to_owned(),
                        stamp: Stamp::from(&metadata),
                        manifest: Stamp::of(&file.with_file_name(MANIFEST)).ok(),
                    });
                }
            }
            Ok(_) => self.refuse(
                file,
                "not a file",
                "a TorchScript model is one file",
                "save it with torch.jit.save",
            ),
            Err(error) => self.refuse(
                file,
                "cannot be read",
                reason(&error),
                format!("put the TorchScript file there, or remove the folder '{version}'"),
            ),
        }
    }

    /// The folders in `dir` by name (links are followed), or nothing and a problem.
    fn folders(&mut self, dir: &Path) -> Option<Vec<(String, PathBuf)>> {
        let list = || -> io::Result<Vec<_>> {
            let mut folders = Vec::new();
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if !name.starts_with('.') && name != "lost+found" && fs::metadata(&path)?.is_dir() {
                    folders.push((name, path));
                }
            }
            folders.sort();
            Ok(folders)
        };
        match list() {
            Ok(folders) => Some(folders),
            Err(error) => {
                let why = reason(&error);
                self.refuse(
                    dir,
                    "cannot be listed",
                    why,
                    "check the path and its permissions",
                );
                None
            }
        }
    }
}

/// Whether a model may have this name.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && name.bytes().all(allowed)
}

/// A version as a folder or URL writes it: a whole number from 1, without sign or leading zeros.
#[must_use]
pub fn parse_version(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| canonical)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        io::ErrorKind::NotADirectory => "it is not a folder".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
