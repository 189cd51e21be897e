//! A folder that is kept as a bucket is: only what has changed is fetched, and only what is served.
//!
//! Each version is fetched beside what is there, and takes its place as a whole once all of it has arrived. Nothing is
//! removed before the listing of the bucket was complete and what comes in its place is there.

mod folder;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use self::folder::Folder;
use super::{
    remote::{self, Files, Model, Object},
    s3::{Bucket, Failure},
};
use crate::repository::{self, DESCRIPTIONS, Problem, Problems, manifest};

/// Times that the bucket is listed anew because objects have changed since.
const LISTINGS: usize = 3;

/// A bucket and the folder that it is mirrored into.
pub(super) struct Mirror {
    bucket: Bucket,
    folder: Folder,
    /// Of which object each file is that was fetched, in part or whole, and is not in its place yet.
    fetched: HashMap<PathBuf, (Object, Option<String>)>,
}

/// An object that was not fetched.
struct Missed {
    key: String,
    failure: Failure,
}

impl Mirror {
    /// Nobody else may use the folder as long as this lives.
    pub(super) fn open(bucket: Bucket, folder: &Path) -> Result<Self, Problem> {
        let folder = Folder::open(folder, &bucket.identity())?;
        Ok(Self {
            bucket,
            folder,
            fetched: HashMap::new(),
        })
    }

    /// Makes the folder what the bucket is now.
    pub(super) async fn sync(&mut self) -> Result<(), Problems> {
        for listing in 1.. {
            let listed = self.bucket.list().await;
            let listed = listed.map_err(|it| Problems(vec![self.bucket.problem("", &it)]))?;
            let remote = remote::tree(listed, &self.bucket.location).map_err(Problems)?;
            let mut missed = Vec::new();
            for (name, model) in &remote {
                missed.extend(self.model(name, model).await.err());
            }
            if missed.iter().any(|it| it.failure.is_outdated()) && listing < LISTINGS {
                continue;
            }
            let names = remote.keys().cloned().collect();
            if let Err(error) = self.folder.keep(Path::new(""), &names).await {
                missed.push(Missed::of("", error.into()));
            }
            if missed.is_empty() {
                self.fetched.clear();
                self.folder.clear_staging().await;
                return Ok(());
            }
            let problem = |it: &Missed| self.bucket.problem(&it.key, &it.failure);
            return Err(Problems(missed.iter().map(problem).collect()));
        }
        Ok(())
    }

    async fn model(&mut self, name: &str, model: &Model) -> Result<(), Missed> {
        let place = PathBuf::from(name);
        let disk = |error: std::io::Error| Missed::of(name, error.into());
        self.description(&place, name, &model.description).await?;
        // What does not say which versions are served is told by who reads the folder.
        let Some(policy) = repository::policy(&self.folder.at(&place)) else {
            return Ok(());
        };
        let there: Vec<u64> = model.versions.keys().copied().collect();
        let mut wanted = BTreeSet::new();
        for (version, files) in &model.versions {
            if policy.serves(*version, &there) {
                self.version(&format!("{name}/{version}"), files).await?;
                wanted.insert(version.to_string());
            }
        }
        self.folder.keep(&place, &wanted).await.map_err(disk)
    }

    /// The files that say how a model is served, each for itself.
    async fn description(&mut self, place: &Path, name: &str, files: &Files) -> Result<(), Missed> {
        let disk = |error: std::io::Error| Missed::of(name, error.into());
        let have = self.folder.record(place);
        self.folder.make(place).await.map_err(disk)?;
        if have.as_ref() == Some(files) {
            return Ok(());
        }
        let have = have.unwrap_or_default();
        for (file, object) in files {
            if have.get(file) != Some(object) {
                let staged = self.fetch(&format!("{name}/{file}"), object).await?;
                let place = self.folder.at(&place.join(file));
                tokio::fs::rename(staged, place).await.map_err(disk)?;
            }
        }
        for gone in DESCRIPTIONS.iter().filter(|it| !files.contains_key(**it)) {
            let _ = tokio::fs::remove_file(self.folder.at(&place.join(gone))).await;
        }
        self.folder
            .write_record(&self.folder.at(place), files)
            .await
            .map_err(disk)
    }

    async fn version(&mut self, key: &str, files: &Files) -> Result<(), Missed> {
        let disk = |error: std::io::Error| Missed::of(key, error.into());
        let place = Path::new(key);
        let have = self.folder.record(place);
        if have.as_ref() == Some(files) {
            return Ok(());
        }
        tracing::info!(version = key, "fetching a model version");
        let have = have.unwrap_or_default();
        self.folder
            .retain_staged(place, files)
            .await
            .map_err(disk)?;
        for (file, object) in files {
            if have.get(file) == Some(object) {
                self.folder
                    .stage_again(&place.join(file))
                    .await
                    .map_err(disk)?;
            } else {
                self.fetch(&format!("{key}/{file}"), object).await?;
            }
        }
        let staged = self.folder.staged(place);
        // Sums that do not match may come of the way here, once. If they do not match in the bucket, whoever loads the
        // version says so.
        for file in manifest::broken(&staged).await {
            if let Some(object) = files.get(&file) {
                tracing::warn!(
                    version = key,
                    file,
                    "its sha256 does not match: fetching it again"
                );
                let key = format!("{key}/{file}");
                let staged = self.folder.staged(Path::new(&key));
                self.fetched.remove(&staged);
                let _ = tokio::fs::remove_file(&staged).await;
                self.fetch(&key, object).await?;
            }
        }
        self.folder
            .write_record(&staged, files)
            .await
            .map_err(disk)?;
        self.folder.put_in_place(place).await.map_err(disk)?;
        self.fetched.retain(|file, _| !file.starts_with(&staged));
        Ok(())
    }

    /// Fetches an object beside its place, and says where it is.
    async fn fetch(&mut self, key: &str, object: &Object) -> Result<PathBuf, Missed> {
        let file = self.folder.staged(Path::new(key));
        let missed = |failure| Missed::of(key, failure);
        if let Some(parent) = file.parent() {
            let made = tokio::fs::create_dir_all(parent).await;
            made.map_err(|error| missed(error.into()))?;
        }
        let (found, mut etag) = self
            .fetched
            .remove(&file)
            .filter(|(found, _)| found == object)
            .unwrap_or((object.clone(), None));
        let result = self.bucket.fetch(key, object, (&file, &mut etag)).await;
        self.fetched.insert(file.clone(), (found, etag));
        result.map(|()| file).map_err(missed)
    }
}

impl Missed {
    fn of(key: &str, failure: Failure) -> Self {
        let key = key.to_owned();
        Self { key, failure }
    }
}
