//! Where models come from: a folder, or a bucket that is mirrored into one.
//!
//! Everything behind this reads folders only: what is in a bucket is first brought into a cache of the same layout, each
//! version as a whole, and read from there.

mod mirror;
mod remote;
mod s3;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ring::digest;
use tokio::sync::Mutex;

pub use self::s3::Location;
use self::{mirror::Mirror, s3::Bucket};
use crate::repository::{self, Entry, Problem, Problems};

/// What `--models` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// `s3://BUCKET/PREFIX`.
    S3(Location),
}

/// How a bucket is reached, beyond what the usual variables of the environment (`AWS_*`) say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// URL of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
    /// Whether it may be asked without TLS.
    pub allow_http: bool,
    /// How long a connection may bring nothing, or next to nothing, before it is given up.
    pub timeout: Duration,
    /// The folder that the bucket is mirrored into; by default one of its own in the user's cache.
    pub cache: Option<PathBuf>,
}

/// A place that has been opened.
#[derive(Clone)]
pub struct Source {
    folder: PathBuf,
    /// What fills the folder, and where that is.
    mirror: Option<(Arc<Mutex<Mirror>>, Location)>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            allow_http: false,
            timeout: Duration::from_secs(30),
            cache: None,
        }
    }
}

impl Place {
    /// Of what a command line says.
    ///
    /// # Errors
    /// A sentence, if it begins as a URL that cannot be used.
    pub fn parse(text: PathBuf) -> Result<Self, String> {
        match text.to_str() {
            Some(url) if url.contains("://") => Location::parse(url).map(Self::S3),
            _ => Ok(Self::Folder(text)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3(location) => location.fmt(f),
        }
    }
}

impl From<PathBuf> for Source {
    fn from(folder: PathBuf) -> Self {
        let mirror = None;
        Self { folder, mirror }
    }
}

impl Source {
    /// Opens a place. Nothing is asked of a bucket yet.
    ///
    /// # Errors
    /// [`Problems`] of the options or of the cache.
    pub fn open(place: &Place, access: &Access) -> Result<Self, Problems> {
        let location = match place {
            Place::Folder(folder) => return Ok(Self::from(folder.clone())),
            Place::S3(location) => location.clone(),
        };
        let one = |problem| Problems(vec![problem]);
        let bucket = Bucket::open(&location, access).map_err(one)?;
        let own = || default_cache(&bucket.identity());
        let folder = access.cache.clone().unwrap_or_else(own);
        let mirror = Mirror::open(bucket, &folder).map_err(one)?;
        tracing::info!(from = %location, to = %folder.display(), "models are mirrored");
        let mirror = Some((Arc::new(Mutex::new(mirror)), location));
        Ok(Self { folder, mirror })
    }

    /// What is there now. A bucket is first brought into the cache as far as it has changed.
    ///
    /// # Errors
    /// [`Problems`] with everything that is wrong; what the folder holds is still whole.
    pub async fn read(&self) -> Result<Vec<Entry>, Problems> {
        if let Some((mirror, _)) = &self.mirror {
            mirror.lock().await.sync().await?;
        }
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || repository::read(&folder)).await;
        let read = read.unwrap_or_else(|error| {
            let why = error.to_string();
            let problem = Problem::new(&self.folder, "could not be read", why, "report this");
            Err(Problems(vec![problem]))
        });
        read.map_err(|problems| self.told_of_the_bucket(problems))
    }

    /// Nobody who has a bucket knows the cache.
    fn told_of_the_bucket(&self, Problems(mut problems): Problems) -> Problems {
        if let Some((_, location)) = &self.mirror {
            for problem in &mut problems {
                if let Ok(rest) = problem.file.strip_prefix(&self.folder) {
                    problem.file = location.at(rest);
                }
            }
        }
        Problems(problems)
    }
}

/// A folder for one bucket and prefix in the user's cache, or where temporary files are.
fn default_cache(identity: &str) -> PathBuf {
    let set = |name| env::var_os(name).filter(|it| !it.is_empty());
    let own = set("XDG_CACHE_HOME").map(PathBuf::from);
    let home = set("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = own.or(home).unwrap_or_else(env::temp_dir);
    let digest = digest::digest(&digest::SHA256, identity.as_bytes());
    let short: String = digest.as_ref().iter().take(8).map(hex).collect();
    base.join("serin").join("models").join(short)
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_url_is_one_of_s3_or_refused() {
        let parse = |text: &str| Place::parse(PathBuf::from(text));
        assert_eq!(parse("models"), Ok(Place::Folder("models".into())));
        assert_eq!(parse("s3:/models"), Ok(Place::Folder("s3:/models".into())));
        let there = parse("s3://bucket/some/models/").unwrap();
        assert_eq!(there.to_string(), "s3://bucket/some/models");
        assert_eq!(parse("s3://bucket").unwrap().to_string(), "s3://bucket");
        for wrong in [
            "gs://bucket/models",
            "s3://",
            "s3:///models",
            "s3://bucket/a/../b",
            "s3://bucket/a//b",
            "s3://user:secret@bucket/models",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_bucket_has_a_cache_of_its_own() {
        assert_ne!(default_cache("s3://a"), default_cache("s3://b"));
        assert_eq!(default_cache("s3://a"), default_cache("s3://a"));
    }
}
