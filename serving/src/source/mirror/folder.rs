//! The folder that a bucket is mirrored into, and what is kept in it beside the models: who owns it, of which objects each
//! folder is made, and what is not whole yet.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{repository::Problem, source::remote::Files};

/// What is no model; whoever reads the folder passes over it.
const OWN: &str = ".serin";
/// In each folder of objects: which they were.
const RECORD: &str = ".objects.json";

/// A cache that nobody else uses.
pub(super) struct Folder {
    root: PathBuf,
    /// Of things that go.
    n_trash: u64,
    /// Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder, or takes the one of the same bucket. What was not whole is fetched anew.
    pub(super) fn open(root: &Path, identity: &str) -> Result<Self, Problem> {
        let unusable = |error: &io::Error| {
            Problem::new(
                root,
                "cannot be used as a cache",
                error.to_string(),
                "make room, check its permissions, or name another folder with --model-cache",
            )
        };
        let refused = |why: String| {
            let fix = "name another folder with --model-cache";
            Problem::new(root, "is not used as a cache", why, fix)
        };
        let own = root.join(OWN);
        // What is removed from the bucket is removed here: nothing of anybody else may be inside.
        let is_used = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if is_used && !own.is_dir() {
            return Err(refused("it holds something else already".to_owned()));
        }
        let make = || -> io::Result<File> {
            fs::create_dir_all(&own)?;
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            options.open(own.join("lock"))
        };
        let mut lock = make().map_err(|error| unusable(&error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => refused("another process uses it".to_owned()),
            TryLockError::Error(error) => unusable(&error),
        })?;
        let mut owner = String::new();
        let mut claim = || -> io::Result<()> {
            lock.read_to_string(&mut owner)?;
            if owner.is_empty() {
                lock.write_all(identity.as_bytes())?;
                lock.sync_all()?;
            }
            for leftover in ["staging", "trash"] {
                match fs::remove_dir_all(own.join(leftover)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        claim().map_err(|error| unusable(&error))?;
        if !owner.is_empty() && owner != identity {
            return Err(refused(format!("it is that of {owner}")));
        }
        Ok(Self {
            root: root.to_owned(),
            n_trash: 0,
            _lock: lock,
        })
    }

    /// Where something is in the end.
    pub(super) fn at(&self, place: &Path) -> PathBuf {
        self.root.join(place)
    }

    /// Where it is until it is whole.
    pub(super) fn staged(&self, place: &Path) -> PathBuf {
        self.root.join(OWN).join("staging").join(place)
    }

    pub(super) async fn make(&self, place: &Path) -> io::Result<()> {
        tokio::fs::create_dir_all(self.at(place)).await
    }

    /// Of which objects a folder is made; nothing if that is not known, or is not so.
    pub(super) fn record(&self, place: &Path) -> Option<Files> {
        let folder = self.at(place);
        let text = fs::read(folder.join(RECORD)).ok()?;
        let files: Files = serde_json::from_slice(&text).ok()?;
        let is_whole = files.iter().all(|(file, object)| {
            fs::metadata(folder.join(file)).is_ok_and(|it| it.is_file() && it.len() == object.size)
        });
        is_whole.then_some(files)
    }

    /// Notes of which objects a folder is made.
    pub(super) async fn write_record(&self, folder: &Path, files: &Files) -> io::Result<()> {
        let text = serde_json::to_vec(files)?;
        let (file, new) = (folder.join(RECORD), folder.join(".objects.new"));
        tokio::task::spawn_blocking(move || {
            let mut written = File::create(&new)?;
            written.write_all(&text)?;
            written.sync_all()?;
            fs::rename(new, &file)?;
            sync_parent(&file)
        })
        .await
        .map_err(io::Error::other)?
    }

    /// Takes out of what is staged for a place all that no longer belongs there.
    pub(super) async fn retain_staged(&self, place: &Path, files: &Files) -> io::Result<()> {
        let staged = self.staged(place);
        tokio::fs::create_dir_all(&staged).await?;
        let mut entries = tokio::fs::read_dir(&staged).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let wanted = files.keys().any(|file| Path::new(file).starts_with(&name));
            if wanted {
                continue;
            }
            if entry.file_type().await?.is_dir() {
                tokio::fs::remove_dir_all(entry.path()).await?;
            } else {
                tokio::fs::remove_file(entry.path()).await?;
            }
        }
        Ok(())
    }

    /// Stages a file that is in its place as it should be.
    pub(super) async fn stage_again(&self, place: &Path) -> io::Result<()> {
        let (file, staged) = (self.at(place), self.staged(place));
        if let Some(parent) = staged.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let _ = tokio::fs::remove_file(&staged).await;
        tokio::fs::hard_link(file, staged).await
    }

    /// Puts what is staged for a place there, as a whole.
    pub(super) async fn put_in_place(&mut self, place: &Path) -> io::Result<()> {
        let (there, staged) = (self.at(place), self.staged(place));
        let trash = self.trash();
        tokio::task::spawn_blocking(move || {
            // Nobody reads between the two: reading and this take turns. A process that is killed between them finds
            // the version missing, and fetches it again.
            if there.exists() {
                discard(&there, &trash)?;
            }
            fs::rename(staged, &there)?;
            sync_parent(&there)?;
            remove(&trash)
        })
        .await
        .map_err(io::Error::other)?
    }

    /// Removes the folders in `place` that are not among `names`.
    pub(super) async fn keep(&mut self, place: &Path, names: &BTreeSet<String>) -> io::Result<()> {
        let folder = self.at(place);
        let mut entries = tokio::fs::read_dir(&folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().await?.is_dir();
            if name.starts_with('.') || !is_folder || names.contains(&*name) {
                continue;
            }
            tracing::info!(folder = %entry.path().display(), "no longer in the bucket, or not served: removed");
            let (gone, trash) = (entry.path(), self.trash());
            tokio::task::spawn_blocking(move || {
                discard(&gone, &trash)?;
                remove(&trash)
            })
            .await
            .map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// All that was staged is in its place.
    pub(super) async fn clear_staging(&self) {
        let _ = tokio::fs::remove_dir_all(self.staged(Path::new(""))).await;
    }

    fn trash(&mut self) -> PathBuf {
        self.n_trash += 1;
        let trash = self.root.join(OWN).join("trash");
        trash.join(self.n_trash.to_string())
    }
}

/// Moves something away, so that it is gone at once.
fn discard(what: &Path, trash: &Path) -> io::Result<()> {
    if let Some(parent) = trash.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(what, trash)
}

fn remove(trash: &Path) -> io::Result<()> {
    match fs::remove_dir_all(trash) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new name lasts once its folder is on the disk.
fn sync_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_something_else_is_no_cache() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let problem = Folder::open(dir.path(), "s3://a").err().unwrap();
        assert!(
            problem
                .to_string()
                .contains("it holds something else already; name another")
        );
        assert!(dir.path().join("thesis.tex").exists());
    }

    #[test]
    fn a_cache_belongs_to_one_process_and_one_bucket() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path(), "s3://a").unwrap();
        let problem = Folder::open(dir.path(), "s3://a").err().unwrap();
        assert!(
            problem.to_string().contains("another process uses it"),
            "{problem}"
        );
        drop(first);
        let problem = Folder::open(dir.path(), "s3://b").err().unwrap();
        assert!(
            problem.to_string().contains("it is that of s3://a"),
            "{problem}"
        );
        assert!(Folder::open(dir.path(), "s3://a").is_ok());
    }

    #[tokio::test]
    async fn a_version_is_replaced_as_a_whole_and_a_record_that_is_not_so_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path(), "s3://a").unwrap();
        let place = Path::new("fraud/1");
        let object = |size| crate::source::remote::Object {
            size,
            etag: None,
            modified: 0,
        };
        folder.make(Path::new("fraud")).await.unwrap();
        for (round, file) in ["old", "new"].into_iter().enumerate() {
            let staged = folder.staged(place);
            fs::create_dir_all(&staged).unwrap();
            fs::write(staged.join(file), "four").unwrap();
            let files = Files::from([(file.to_owned(), object(4))]);
            folder.write_record(&staged, &files).await.unwrap();
            folder.put_in_place(place).await.unwrap();
            assert_eq!(folder.record(place), Some(files), "{round}");
        }
        assert!(!dir.path().join("fraud/1/old").exists());
        fs::write(dir.path().join("fraud/1/new"), "longer").unwrap();
        assert_eq!(folder.record(place), None);
    }
}
