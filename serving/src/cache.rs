//! Answers that are given again to the same inputs.
//!
//! A key is a SHA-256 of the version, of what its file holds, and of the inputs in the model's order, so nobody gets the
//! answer to other inputs, whatever they choose. Answers are kept in this process and, if there is a Redis, there as well:
//! what another replica has computed is found, and so is what this one had before it was started anew.

mod codec;
mod redis;

pub use self::redis::{Address, Shared};

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ring::digest::{Context, Digest, SHA256};

use crate::{
    repository::Entry,
    spec::{CacheSpec, ModelSpec},
    tensor::Tensor,
};

/// What an answer is found by.
pub type Key = [u8; 32];

/// The outputs of one request.
pub type Outputs = Arc<Vec<Tensor>>;

/// Bytes that an entry takes beside its tensors, about.
const OVERHEAD: usize = 256;

/// Answers beyond this are not for the network: computing them again is no slower.
const MAX_SHARED: usize = 4 << 20;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This process had it, or was about to.
    Memory,
    /// Redis had it.
    Redis,
    /// A forward.
    Model,
}

/// Answers of one model version.
pub struct Cache {
    /// What all of its keys begin with.
    salt: Context,
    local: moka::future::Cache<Key, Outputs>,
    shared: Option<Arc<Shared>>,
    ttl: Option<Duration>,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::Model];

    /// As metrics call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Memory => "hit",
            Self::Redis => "hit_redis",
            Self::Model => "miss",
        }
    }
}

impl Cache {
    /// An empty one for a version that wants one, whose file is read for its keys.
    ///
    /// # Errors
    /// [`io::Error`] if the file cannot be read.
    pub async fn of(entry: &Entry, shared: Option<Arc<Shared>>) -> io::Result<Option<Self>> {
        let Some(spec) = entry.spec.serving.cache else {
            return Ok(None);
        };
        let entry = entry.clone();
        let cache = tokio::task::spawn_blocking(move || Self::new(&entry, &spec, shared));
        cache.await.map_err(io::Error::other)?.map(Some)
    }

    fn new(entry: &Entry, spec: &CacheSpec, shared: Option<Arc<Shared>>) -> io::Result<Self> {
        let ModelSpec {
            inputs, outputs, ..
        } = &*entry.spec;
        let content = content(&entry.file)?;
        let mut salt = Context::new(&SHA256);
        // Names are escaped in this, so it can be read in one way only.
        let release = env!("CARGO_PKG_VERSION");
        let about = (release, &entry.model, entry.version, inputs, outputs);
        salt.update(format!("{about:?}").as_bytes());
        salt.update(content.as_ref());
        let weigh = |_: &Key, outputs: &Outputs| {
            let bytes: usize = outputs.iter().map(|it| it.bytes().len()).sum();
            u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
        };
        let mut local = moka::future::Cache::builder()
            .max_capacity(spec.size)
            .weigher(weigh);
        if let Some(ttl) = spec.ttl {
            local = local.time_to_live(ttl);
        }
        Ok(Self {
            salt,
            local: local.build(),
            shared,
            ttl: spec.ttl,
        })
    }

    /// Of inputs that were checked.
    #[must_use]
    pub fn key(&self, inputs: &[Tensor]) -> Key {
        let mut context = self.salt.clone();
        for input in inputs {
            let shape = input.shape();
            // The rank and the sizes say how many bytes follow.
            context.update(&[input.datatype() as u8, shape.len().to_le_bytes()[0]]);
            for size in shape {
                context.update(&size.to_le_bytes());
            }
            context.update(input.bytes());
        }
        let mut key = Key::default();
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    /// What there is for a key, or what `compute` makes of it, which then is kept. Of several at once one computes, and the
    /// others wait for it. `Err(())` is what `compute` returned, for whoever asked first.
    ///
    /// # Errors
    /// That of a `compute`, which may be another request's.
    pub async fn find(
        &self,
        key: Key,
        compute: impl Future<Output = Result<Outputs, ()>>,
    ) -> Result<Outputs, ()> {
        self.local.try_get_with(key, compute).await.map_err(drop)
    }

    /// What Redis has for a key, if it is what the model would answer.
    pub async fn fetch(&self, key: &Key, spec: &ModelSpec) -> Option<Outputs> {
        let shared = self.shared.as_ref()?;
        let outputs = codec::decode(&shared.get(key).await?)?;
        spec.check_outputs(&outputs).ok()?;
        Some(Arc::new(outputs))
    }

    /// Gives an answer to Redis. It does not wait for that.
    pub fn send(&self, key: Key, outputs: &[Tensor]) {
        let bytes: usize = outputs.iter().map(|it| it.bytes().len()).sum();
        if let Some(shared) = self.shared.as_ref().filter(|_| bytes <= MAX_SHARED) {
            let (shared, ttl) = (Arc::clone(shared), self.ttl);
            let value = codec::encode(outputs);
            tokio::spawn(async move { shared.set(&key, &value, ttl).await });
        }
    }
}

fn content(file: &Path) -> io::Result<Digest> {
    let mut file = File::open(file)?;
    let mut context = Context::new(&SHA256);
    let mut part = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut part)?;
        match part.get(..read) {
            Some([]) | None => return Ok(context.finish()),
            Some(bytes) => context.update(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{backend::fake, repository::Stamp, tensor::Datatype};

    fn entry(file: &Path, spec: ModelSpec) -> Entry {
        Entry {
            model: "fraud".to_owned(),
            version: 1,
            spec: Arc::new(spec),
            notes: Arc::default(),
            file: file.to_owned(),
            stamp: Stamp::default(),
            manifest: None,
        }
    }

    fn cache(entry: &Entry) -> Cache {
        let spec = CacheSpec {
            size: 1 << 20,
            ttl: None,
        };
        Cache::new(entry, &spec, None).unwrap()
    }

    fn tensor(datatype: Datatype, shape: &[i64], bytes: &[u8]) -> Tensor {
        Tensor::new(datatype, shape.to_vec(), bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_same_inputs_have_the_same_key_and_no_others_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.pt");
        fs::write(&file, "one").unwrap();
        let cache = cache(&entry(&file, fake::spec()));
        let (a, b) = ([1, 2, 3, 4], [1, 2, 3, 5]);
        let inputs = [
            vec![tensor(Datatype::Uint8, &[4], &a)],
            vec![tensor(Datatype::Uint8, &[4], &b)],
            vec![tensor(Datatype::Int8, &[4], &a)],
            vec![tensor(Datatype::Uint8, &[2, 2], &a)],
            vec![tensor(Datatype::Uint8, &[4, 1], &a)],
            vec![tensor(Datatype::Int32, &[1], &a)],
            vec![
                tensor(Datatype::Uint8, &[4], &a),
                tensor(Datatype::Uint8, &[4], &b),
            ],
            vec![
                tensor(Datatype::Uint8, &[4], &b),
                tensor(Datatype::Uint8, &[4], &a),
            ],
            vec![
                tensor(Datatype::Uint8, &[2], &a[..2]),
                tensor(Datatype::Uint8, &[2], &a[2..]),
            ],
            vec![],
        ];
        let keys: Vec<_> = inputs.iter().map(|it| cache.key(it)).collect();
        for (one, key) in keys.iter().enumerate() {
            let same = keys.iter().filter(|it| *it == key).count();
            assert_eq!(same, 1, "{:?}", inputs[one]);
            assert_eq!(cache.key(&inputs[one]), *key);
        }
    }

    #[test]
    fn what_makes_another_model_of_it_makes_other_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.pt"), dir.path().join("two.pt"));
        fs::write(&one, "one").unwrap();
        fs::write(&two, "two").unwrap();
        let inputs = [tensor(Datatype::Uint8, &[1], &[1])];
        let mut renamed = fake::spec();
        renamed.outputs[0].name = "z".to_owned();
        let mut other = entry(&one, fake::spec());
        other.model = "other".to_owned();
        let mut next = entry(&one, fake::spec());
        next.version = 2;
        let first = entry(&one, fake::spec());
        let others = [entry(&two, fake::spec()), entry(&one, renamed), other, next];
        let key = cache(&first).key(&inputs);
        assert_eq!(
            cache(&first).key(&inputs),
            key,
            "after a restart, and elsewhere"
        );
        for entry in others {
            assert_ne!(cache(&entry).key(&inputs), key, "{entry:?}");
        }
    }

    #[tokio::test]
    async fn it_holds_no_more_bytes_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.pt");
        fs::write(&file, "one").unwrap();
        let cache = cache(&entry(&file, fake::spec()));
        for number in 0..100_u8 {
            let outputs = vec![tensor(Datatype::Uint8, &[100_000], &[number; 100_000])];
            let found = cache
                .find([number; 32], async { Ok(Arc::new(outputs)) })
                .await;
            assert_eq!(found.unwrap()[0].bytes()[0], number);
        }
        cache.local.run_pending_tasks().await;
        assert!(cache.local.weighted_size() <= 1 << 20 && cache.local.entry_count() > 5);
    }
}
