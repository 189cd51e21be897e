//! The folder of a standalone installation: what people write, what Envoy reads, what the controller remembers.
//!
//! ```text
//! DIR/*.yaml                     rollouts                       people write
//! DIR/envoy/{rds,ecds}.json      routes and plugin config       Envoy reads
//! DIR/state/<ns>.<name>.json     state and status of a rollout  the controller writes
//! DIR/state/controller.json      where the controller listens   the command line reads
//! DIR/actions/*.json             actions                        the command line writes
//! ```
//!
//! Every file is written aside and renamed, so that a reader sees the old one or the new one, never a half.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::Status;
use crate::rollout::{Action, RolloutState};
use crate::validate::RolloutName;

/// A standalone folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {what} '{path}'")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours that is not what we write.
    #[error(
        "failed to understand '{path}': restore it, or remove it; the rollout then begins anew from what its default route in 'envoy/rds.json' serves"
    )]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No such folder.
    #[error("there is no folder '{0}': make it, and put rollout files into it")]
    NoFolder(PathBuf),
    /// Nothing of ours is there.
    #[error(
        "no controller has run on '{0}' yet: check the folder, or start one with 'serin run --standalone'"
    )]
    NoInstallation(PathBuf),
    /// Another controller runs on the folder.
    #[error("another controller runs on '{0}': stop it first")]
    Locked(PathBuf),
}

/// What a rollout's state file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateFile {
    /// Name of the rollout's file in the folder.
    pub file: Option<String>,
    /// Everything that is remembered.
    pub state: RolloutState,
    /// For people; not read back.
    #[serde(default)]
    pub status: Option<Status>,
}

/// Where the controller listens, and the last generation it gave out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerFile {
    /// Base address of its HTTP endpoint.
    pub address: String,
    /// Last generation.
    pub generation: u64,
}

/// An action and the rollout it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionFile {
    /// Which rollout.
    pub rollout: RolloutName,
    /// What to do.
    pub action: Action,
}

/// A rollout file's text, or why it cannot be read.
pub type RolloutText = (String, Result<String, String>);

/// Keeps other controllers out for as long as it lives.
#[derive(Debug)]
pub struct Lock(
    #[allow(
        dead_code,
        reason = "held, not read: closing the file gives the lock back"
    )]
    File,
);

impl Store {
    /// A folder on which a controller has run, for reading.
    ///
    /// # Errors
    /// [`StoreError::NoInstallation`], so that a mistyped folder is not made into one.
    pub fn find(dir: &Path) -> Result<Self, StoreError> {
        if dir.join("state").is_dir() {
            Self::open(dir)
        } else {
            Err(StoreError::NoInstallation(dir.to_owned()))
        }
    }

    /// A folder that exists; its subfolders are made.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let dir = dir.canonicalize().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NoFolder(dir.to_owned()),
            _ => StoreError::Io {
                what: "find the folder",
                path: dir.to_owned(),
                source,
            },
        })?;
        let store = Self { dir };
        for sub in ["envoy", "state", "actions"] {
            let path = store.dir.join(sub);
            fs::create_dir_all(&path).map_err(|source| StoreError::Io {
                what: "create",
                path,
                source,
            })?;
        }
        Ok(store)
    }

    /// Takes the lock of the controller.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another controller runs here.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        let path = self.dir.join("state/lock");
        let failed = |source| StoreError::Io {
            what: "lock",
            path: path.clone(),
            source,
        };
        let file = File::create(&path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked(self.dir.clone()),
            TryLockError::Error(source) => failed(source),
        })?;
        Ok(Lock(file))
    }

    /// File that Envoy's route discovery reads.
    #[must_use]
    pub fn rds(&self) -> PathBuf {
        self.dir.join("envoy/rds.json")
    }

    /// File that Envoy's extension discovery reads.
    #[must_use]
    pub fn ecds(&self) -> PathBuf {
        self.dir.join("envoy/ecds.json")
    }

    fn controller_file(&self) -> PathBuf {
        self.dir.join("state/controller.json")
    }

    fn state_file(&self, name: &RolloutName) -> PathBuf {
        // Neither part may hold a dot (validate.rs), so the name is unique.
        self.dir
            .join(format!("state/{}.{}.json", name.namespace, name.name))
    }

    /// The rollout files in order of their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn rollout_files(&self) -> Result<Vec<RolloutText>, StoreError> {
        let mut files = Vec::new();
        for path in self.list(&self.dir, &["yaml", "yml"])? {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.push((
                name,
                fs::read_to_string(&path).map_err(|error| format!("cannot be read: {error}")),
            ));
        }
        Ok(files)
    }

    /// Every state file.
    ///
    /// # Errors
    /// A file cannot be read or understood: the controller must not start on half its memory.
    pub fn states(&self) -> Result<Vec<StateFile>, StoreError> {
        let controller = self.controller_file();
        let paths = self.list(&self.dir.join("state"), &["json"])?;
        paths
            .iter()
            .filter(|path| **path != controller)
            .filter_map(|path| read_json(path).transpose())
            .collect()
    }

    /// Writes a rollout's state.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save(&self, file: &StateFile) -> Result<(), StoreError> {
        write_json(&self.state_file(&file.state.name), file)
    }

    /// Where the controller listens, if one ever ran here.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn controller(&self) -> Result<Option<ControllerFile>, StoreError> {
        read_json(&self.controller_file())
    }

    /// Says where the controller listens.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn save_controller(&self, file: &ControllerFile) -> Result<(), StoreError> {
        write_json(&self.controller_file(), file)
    }

    /// Actions that wait, oldest first, with the file of each. One that cannot be understood is set aside and named.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn actions(&self) -> Result<Vec<(PathBuf, ActionFile)>, StoreError> {
        let mut actions = Vec::new();
        for path in self.list(&self.dir.join("actions"), &["json"])? {
            match read_json(&path) {
                Ok(Some(action)) => actions.push((path, action)),
                Ok(None) => {}
                Err(error) => {
                    let aside = path.with_extension("rejected");
                    tracing::error!(%error, file = %path.display(), "action set aside: it cannot be understood");
                    fs::rename(&path, &aside).map_err(|source| StoreError::Io {
                        what: "set aside",
                        path,
                        source,
                    })?;
                }
            }
        }
        Ok(actions)
    }

    /// Leaves an action for the controller.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn leave_action(&self, action: &ActionFile) -> Result<(), StoreError> {
        write_json(
            &self.dir.join(format!("actions/{}.json", action.action.id)),
            action,
        )
    }

    /// Removes a consumed action.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_action(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io {
                what: "remove",
                path: path.to_owned(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// One of Envoy's files; `None` when it is missing or was spoilt from outside.
    #[must_use]
    pub fn read_envoy(&self, path: &Path) -> Option<Value> {
        read_json(path).ok().flatten()
    }

    /// Writes one of Envoy's files unless it already says so.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write_envoy(&self, path: &Path, content: &Value) -> Result<bool, StoreError> {
        if self.read_envoy(path).as_ref() == Some(content) {
            return Ok(false);
        }
        write_json(path, content)?;
        Ok(true)
    }

    fn list(&self, dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, StoreError> {
        let failed = |source| StoreError::Io {
            what: "list",
            path: dir.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let wanted = path
                .extension()
                .is_some_and(|extension| extensions.iter().any(|e| extension == *e));
            if wanted && !hidden {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Corrupt {
                    path: path.to_owned(),
                    source,
                })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io {
            what: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn write_json<T: Serialize>(path: &Path, content: &T) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec_pretty(content).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');
    // Hidden and beside the target: a rename within one folder is atomic, and no listing takes it for a file of ours.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&aside).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    // Without this a power cut could leave the new name on an empty file.
    file.sync_all().map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Do;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_second_controller_is_refused() {
        let (_dir, store) = store();
        let lock = store.lock().unwrap();
        assert!(matches!(store.lock(), Err(StoreError::Locked(_))));
        drop(lock);
        store.lock().unwrap();
    }

    #[test]
    fn an_action_is_read_once_and_a_broken_one_is_set_aside() {
        let (dir, store) = store();
        let rollout = RolloutName {
            namespace: "ml".to_owned(),
            name: "fraud".to_owned(),
        };
        let action = Action {
            id: "1-a".to_owned(),
            what: Do::Abort,
            by: "ann".to_owned(),
            why: String::new(),
            seen: None,
            weight: None,
        };
        let left = ActionFile { rollout, action };
        store.leave_action(&left).unwrap();
        fs::write(dir.path().join("actions/0.json"), "{").unwrap();
        let found = store.actions().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, left);
        assert!(
            dir.path().join("actions/0.rejected").exists(),
            "nothing is lost"
        );
        store.remove_action(&found[0].0).unwrap();
        assert!(store.actions().unwrap().is_empty());
    }

    #[test]
    fn a_state_file_that_is_not_ours_stops_the_start() {
        let (dir, store) = store();
        fs::write(dir.path().join("state/ml.fraud.json"), "{}").unwrap();
        assert!(matches!(store.states(), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn an_unchanged_envoy_file_is_not_written_again() {
        let (_dir, store) = store();
        let content = serde_json::json!({"a": 1});
        assert!(store.write_envoy(&store.rds(), &content).unwrap());
        assert!(!store.write_envoy(&store.rds(), &content).unwrap());
        fs::write(store.rds(), "spoilt").unwrap();
        assert!(
            store.write_envoy(&store.rds(), &content).unwrap(),
            "drift is mended"
        );
    }
}
