//! A folder of its own for each test and for the demo, which is gone when the last process in it has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A temporary folder, shared by what runs in it: each process holds a clone, so that the folder outlives them all.
#[derive(Debug, Clone)]
pub struct World {
    folder: Arc<TempDir>,
}

impl World {
    /// Makes the folder under the system's temporary folder; `name` is for people who look there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(name: &str) -> Result<World> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("serin-{name}-"))
            .tempdir()
            .context("failed to make a temporary folder")?;
        Ok(World {
            folder: Arc::new(folder),
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path inside the folder; nothing is made.
    #[must_use]
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder inside the folder, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.file(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_lives_until_its_last_holder_is_gone() {
        let world = World::new("world").unwrap();
        let path = world.folder("a/b").unwrap();
        let second = world.clone();
        drop(world);
        assert!(path.is_dir());
        drop(second);
        assert!(!path.exists());
    }
}
