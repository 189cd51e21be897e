//! Answers that are given again to the same inputs.
//!
//! A key is a SHA-256 of the version, of what its file holds, and of the inputs in the model's order, so nobody gets the
//! answer to other inputs, whatever they choose. Answers are kept in this process and, if there is a Redis, there as well:
//! what another replica has computed is found, and so is what this one had before it was started anew.

mod codec;
mod redis;

pub use self::redis::{Address, Shared};

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use moka::Expiry;
use ring::digest::{Context, SHA256};

use crate::{
    repository::{
        Entry,
        sum::{off_the_runtime, sum},
    },
    spec::{CacheSpec, ModelSpec, Serving},
    tensor::{Tensor, bytes_of},
};

/// What an answer is found by.
pub type Key = [u8; 32];

/// The outputs of one request.
#[derive(Debug, Clone)]
pub struct Kept {
    /// In the order of model.yaml.
    pub outputs: Arc<Vec<Tensor>>,
    /// How long they may still be given, when they come here; none: as long as there is room.
    left: Option<Duration>,
}

/// What was in Redis for a while has no whole life before it here.
struct Lives;

/// Bytes that an entry takes beside its tensors, about.
const OVERHEAD: usize = 256;

/// Answers beyond this are not for Redis: they take 2 ms over 1 Gbit/s, and others wait behind them.
const MAX_SHARED: usize = 256 << 10;

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
    local: moka::future::Cache<Key, Kept>,
    shared: Option<Arc<Shared>>,
    ttl: Option<Duration>,
}

impl Origin {
    /// All of them, each at the index of its number.
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
        let made = off_the_runtime(move |stop| Self::new(&entry, &spec, shared, stop)).await;
        made.unwrap_or_else(|| Err(broken_off())).map(Some)
    }

    fn new(
        entry: &Entry,
        spec: &CacheSpec,
        shared: Option<Arc<Shared>>,
        stop: &AtomicBool,
    ) -> io::Result<Self> {
        let ModelSpec {
            inputs,
            outputs,
            serving,
        } = &*entry.spec;
        let Serving {
            max_batch_size,
            reset,
            dtype,
            ..
        } = serving;
        let content = sum(&entry.file, stop)?.ok_or_else(broken_off)?;
        let mut salt = Context::new(&SHA256);
        // Names are escaped in this, so it can be read in one way only.
        let release = env!("CARGO_PKG_VERSION");
        let version = (&entry.model, entry.version);
        let [inputs, outputs] = [inputs, outputs].map(|all| {
            let all = all.iter();
            // Nothing of what answers do not depend on.
            let told = all.map(|it| (&it.name, it.datatype, &it.shape, it.number));
            told.collect::<Vec<_>>()
        });
        let model = (inputs, outputs, max_batch_size, reset, dtype);
        let about = (release, version, model);
        salt.update(format!("{about:?}").as_bytes());
        salt.update(&content);
        let weigh = |_: &Key, kept: &Kept| {
            let bytes = bytes_of(&kept.outputs).saturating_add(OVERHEAD);
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let local = moka::future::Cache::builder()
            .max_capacity(spec.size)
            .weigher(weigh)
            .expire_after(Lives);
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
        compute: impl Future<Output = Result<Kept, ()>>,
    ) -> Result<Kept, ()> {
        self.local.try_get_with(key, compute).await.map_err(drop)
    }

    /// What Redis has for a key, if it is what the model would answer.
    pub async fn fetch(&self, key: &Key, spec: &ModelSpec) -> Option<Kept> {
        let (value, left) = self.shared.as_ref()?.get(key).await?;
        let outputs = codec::decode(&value)?;
        spec.check_outputs(&outputs).ok()?;
        Some(Kept {
            outputs: Arc::new(outputs),
            left: self.ttl.map(|ttl| left.unwrap_or_default().min(ttl)),
        })
    }

    /// Outputs that were computed just now; Redis gets them as well. It does not wait for that.
    pub fn keep(&self, key: Key, outputs: Vec<Tensor>) -> Kept {
        let outputs = Arc::new(outputs);
        self.send(key, &outputs);
        Kept {
            outputs,
            left: self.ttl,
        }
    }

    /// Forgets what this process has.
    pub fn clear(&self) {
        self.local.invalidate_all();
    }

    fn send(&self, key: Key, outputs: &Arc<Vec<Tensor>>) {
        let small = bytes_of(outputs) <= MAX_SHARED;
        let shared = self.shared.as_ref().filter(|_| small);
        if let Some((shared, turn)) = shared.and_then(|it| Some((it, it.turn()?))) {
            let (shared, ttl, outputs) = (Arc::clone(shared), self.ttl, Arc::clone(outputs));
            tokio::spawn(async move {
                shared.set(&key, &codec::encode(&outputs), ttl).await;
                drop(turn);
            });
        }
    }
}

impl Expiry<Key, Kept> for Lives {
    fn expire_after_create(&self, _: &Key, kept: &Kept, _: Instant) -> Option<Duration> {
        kept.left
    }
}

fn broken_off() -> io::Error {
    io::Error::other("reading it was broken off")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{backend::fake, reference::Reference, repository::Stamp, tensor::Datatype};

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
        Cache::new(entry, &spec, None, &AtomicBool::new(false)).unwrap()
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
        let mut resetting = fake::spec();
        resetting.serving.reset = Some("reset_states".to_owned());
        let mut other = entry(&one, fake::spec());
        other.model = "other".to_owned();
        let mut next = entry(&one, fake::spec());
        next.version = 2;
        let first = entry(&one, fake::spec());
        let others = [
            entry(&two, fake::spec()),
            entry(&one, renamed),
            entry(&one, resetting),
            other,
            next,
        ];
        let key = cache(&first).key(&inputs);
        assert_eq!(
            cache(&first).key(&inputs),
            key,
            "after a restart, and elsewhere"
        );
        let mut compared = fake::spec();
        let reference = Reference::new(Datatype::Fp32, vec![0.5], &[1.0, 1.0]).unwrap();
        compared.outputs[0].reference = Some(reference);
        let compared = cache(&entry(&one, compared));
        assert_eq!(compared.key(&inputs), key, "its answers are the same");
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
            let key = [number; 32];
            let found = cache.find(key, async { Ok(cache.keep(key, outputs)) });
            assert_eq!(found.await.unwrap().outputs[0].bytes()[0], number);
        }
        cache.local.run_pending_tasks().await;
        assert!(cache.local.weighted_size() <= 1 << 20 && cache.local.entry_count() > 5);
    }
}
