//! How a model is served: batches, queue and instances.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Checker, placement::Devices};
use crate::{
    spec::{CacheSpec, DYNAMIC, MIN_FORWARD, Serving, TensorSpec},
    tensor::{TensorError, check_shape, shorten},
};

/// A batch of more rows has no use, and is warmed up with.
pub(in crate::repository) const MAX_BATCH: u64 = 4096;
/// Threads of one model version at the most.
pub(in crate::repository) const MAX_INSTANCES: u64 = 64;
/// Requests that may wait at the most.
pub(in crate::repository) const MAX_QUEUE: u64 = 1 << 20;
/// Nobody waits longer for a batch to fill.
pub(in crate::repository) const MAX_DELAY: Duration = Duration::from_secs(10);
/// Nor for an answer.
pub(in crate::repository) const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Bytes of the answers that a version gives again where nobody says another, and the least and the most.
pub(in crate::repository) const DEFAULT_CACHE: u64 = 64 << 20;
const MIN_CACHE: u64 = 1 << 10;
const MAX_CACHE: u64 = 1 << 40;
/// An answer is not given again for longer.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Nobody waits longer for a model to go.
const MAX_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum When {
    /// Before the server is ready.
    Start,
    /// By its first request.
    Lazy,
}

/// Which answers are given again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheWanted {
    size: Option<Spanned<String>>,
    ttl: Option<Spanned<String>>,
}

/// As the file has it.
pub(super) struct Wanted {
    pub(super) max_batch_size: Option<Spanned<u64>>,
    pub(super) max_queue_delay: Option<Spanned<String>>,
    pub(super) queue_size: Option<Spanned<u64>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) forward_timeout: Option<Spanned<String>>,
    pub(super) instances: Option<Spanned<u64>>,
    pub(super) device: Option<Spanned<Devices>>,
    pub(super) dtype: Option<Spanned<String>>,
    pub(super) cache: Option<Spanned<CacheWanted>>,
    pub(super) load: Option<Spanned<When>>,
    pub(super) unload_after: Option<Spanned<String>>,
    pub(super) reset: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn serving(
        &mut self,
        wanted: &Wanted,
        (inputs, outputs): (&[TensorSpec], &[TensorSpec]),
    ) -> Serving {
        let max_batch_size = self.number("maxBatchSize", wanted.max_batch_size.as_ref(), MAX_BATCH);
        if let (Some(at), Some(rows)) = (&wanted.max_batch_size, max_batch_size) {
            self.batched(at, rows, ("input", inputs));
            self.batched(at, rows, ("output", outputs));
        }
        let delay = wanted.max_queue_delay.as_ref();
        if let (Some(at), None) = (delay, &wanted.max_batch_size) {
            let what = "'maxQueueDelay' without 'maxBatchSize'".to_owned();
            let why = "a request that runs alone has nothing to wait for";
            self.refuse(at, what, why, "add 'maxBatchSize', or remove it");
        }
        let timeout = self
            .time("timeout", wanted.timeout.as_ref(), MAX_TIMEOUT)
            .filter(|it| !it.is_zero());
        let max_queue_delay = self
            .time("maxQueueDelay", delay, MAX_DELAY)
            .unwrap_or_default();
        if let (Some(at), Some(time)) = (delay, timeout)
            && time <= max_queue_delay
        {
            let what = format!("'maxQueueDelay' is {}", at.value);
            let why = "it leaves nothing of 'timeout' for the forward";
            self.refuse(at, what, why, "make it shorter than 'timeout'");
        }
        let forward = wanted.forward_timeout.as_ref();
        let forward_timeout = self.time("forwardTimeout", forward, MAX_TIMEOUT);
        if let (Some(at), Some(time)) = (forward, forward_timeout)
            && time < MIN_FORWARD
        {
            let what = format!("'forwardTimeout' is {}", at.value);
            let why = "the server ends when a forward takes longer, and may be busy for as long";
            self.refuse(at, what, why, "write a longer one, such as 30s");
        }
        let instances = self.number("instances", wanted.instances.as_ref(), MAX_INSTANCES);
        let lazy = wanted.load.as_ref().map(|it| it.value) == Some(When::Lazy);
        let idle = wanted.unload_after.as_ref();
        if let (Some(at), false) = (idle, lazy) {
            let what = "'unloadAfter' without 'load: lazy'".to_owned();
            let why = "nothing would load the model again";
            self.refuse(at, what, why, "add 'load: lazy', or remove it");
        }
        let unload_after = self.time("unloadAfter", idle, MAX_IDLE);
        if let (Some(at), Some(Duration::ZERO)) = (idle, unload_after) {
            let what = "'unloadAfter' is 0".to_owned();
            let why = "the model would go before its first answer";
            self.refuse(at, what, why, "write a time such as 10m");
        }
        if let Some(at) = &wanted.reset
            && !is_method(&at.value)
        {
            let what = format!("'reset' is '{}'", shorten(&at.value));
            let why = "it is the name of a method of the module, which takes nothing";
            self.refuse(at, what, why, "write one such as reset_states");
        }
        Serving {
            lazy,
            unload_after,
            max_batch_size,
            max_queue_delay,
            queue_size: self.number("queueSize", wanted.queue_size.as_ref(), MAX_QUEUE),
            timeout,
            forward_timeout,
            instances: self.instances(instances.unwrap_or(1), wanted.device.as_ref()),
            dtype: self.dtype(wanted.dtype.as_ref()),
            cache: wanted.cache.as_ref().map(|it| self.cache(&it.value)),
            reset: wanted.reset.as_ref().map(|it| it.value.clone()),
        }
    }

    fn cache(&mut self, wanted: &CacheWanted) -> CacheSpec {
        let ttl = self.time("ttl", wanted.ttl.as_ref(), MAX_TTL);
        if let (Some(at), Some(Duration::ZERO)) = (&wanted.ttl, ttl) {
            let what = "'ttl' is 0".to_owned();
            let why = "no answer would be given again";
            self.refuse(at, what, why, "write a time such as 10m, or remove 'cache'");
        }
        let size = wanted.size.as_ref().and_then(|at| {
            let size = at.value.parse().ok();
            let size = size.map(|it: ByteSize| it.as_u64());
            let allowed = size.filter(|it| (MIN_CACHE..=MAX_CACHE).contains(it));
            if allowed.is_none() {
                let what = format!("'size' is '{}'", at.value);
                let [least, most] = [MIN_CACHE, MAX_CACHE].map(ByteSize);
                let why = format!("it is {least} to {most}");
                self.refuse(at, what, why, "write one such as 64MiB");
            }
            allowed
        });
        CacheSpec {
            size: size.unwrap_or(DEFAULT_CACHE),
            ttl,
        }
    }

    fn number(&mut self, name: &str, wanted: Option<&Spanned<u64>>, most: u64) -> Option<usize> {
        let at = wanted?;
        if !(1..=most).contains(&at.value) {
            let what = format!("'{name}' is {}", at.value);
            let why = format!("it is 1 to {most}");
            self.refuse(at, what, why, "write a number in that range, or remove it");
            return None;
        }
        usize::try_from(at.value).ok()
    }

    fn time(
        &mut self,
        name: &str,
        wanted: Option<&Spanned<String>>,
        most: Duration,
    ) -> Option<Duration> {
        let at = wanted?;
        match humantime::parse_duration(&at.value) {
            Ok(time) if time <= most => Some(time),
            Ok(_) => {
                let what = format!("'{name}' is {}", at.value);
                let why = format!("it is at most {}", humantime::format_duration(most));
                self.refuse(at, what, why, "write a shorter time");
                None
            }
            Err(error) => {
                let what = format!("'{name}' is '{}'", at.value);
                let why = format!("it is no span of time: {error}");
                self.refuse(at, what, why, "write one such as 500us, 2ms or 1s");
                None
            }
        }
    }

    /// Whether these tensors can be put one below the other.
    fn batched(&mut self, at: &Spanned<u64>, rows: usize, (role, all): (&str, &[TensorSpec])) {
        for tensor in all {
            let name = &tensor.name;
            if tensor.shape.first() != Some(&DYNAMIC) {
                let what = format!(
                    "'maxBatchSize' with {role} '{name}' of shape {:?}",
                    tensor.shape
                );
                let (why, fix) = if tensor.number {
                    ("a number has no rows", "remove 'maxBatchSize'")
                } else {
                    (
                        "requests run together one below the other, in the first dimension",
                        "make that dimension -1, or remove 'maxBatchSize'",
                    )
                };
                self.refuse(at, what, why, fix);
            } else if let Err(error @ TensorError::Elements { .. }) =
                check_shape(&tensor.smallest(rows))
            {
                let what = format!("a batch of {role} '{name}' is too large");
                self.refuse(at, what, error.to_string(), "lower 'maxBatchSize'");
            }
        }
    }
}

/// Whether TorchScript may have a method of this name.
fn is_method(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    bytes.next().is_some_and(first) && bytes.all(|byte| first(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::{device::Device, repository::model_yaml::parse};

    const TENSORS: &str = "inputs: [{name: x, datatype: FP32, shape: [-1, 7]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 1]}]
";

    pub(in crate::repository::model_yaml) fn read(more: &str) -> Result<Serving, String> {
        let found = parse(Path::new("model.yaml"), &format!("{TENSORS}{more}"));
        found
            .map(|it| it.spec.serving)
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn a_model_runs_alone_unless_it_says_otherwise() {
        assert_eq!(read("").unwrap(), Serving::default());
        assert_eq!(read("load: start").unwrap(), Serving::default());
        let found = read(
            "maxBatchSize: 32\nmaxQueueDelay: 2ms\nqueueSize: 9\ntimeout: 1s\nforwardTimeout: 30s\ninstances: 2\nload: lazy\nunloadAfter: 10m\nreset: reset_states\n",
        );
        let wanted = Serving {
            max_batch_size: Some(32),
            max_queue_delay: Duration::from_millis(2),
            queue_size: Some(9),
            timeout: Some(Duration::from_secs(1)),
            forward_timeout: Some(Duration::from_secs(30)),
            instances: vec![Device::Cpu; 2],
            dtype: None,
            cache: None,
            lazy: true,
            unload_after: Some(Duration::from_secs(600)),
            reset: Some("reset_states".to_owned()),
        };
        assert_eq!(found.unwrap(), wanted);
    }

    #[test]
    fn a_cache_has_a_size_and_a_time_of_its_own_or_neither() {
        let cache = |size, ttl| CacheSpec { size, ttl };
        let minute = Some(Duration::from_secs(60));
        for (more, wanted) in [
            ("cache: {}", cache(DEFAULT_CACHE, None)),
            ("cache: {size: 1MiB}", cache(1 << 20, None)),
            ("cache:\n  size: 2GiB\n  ttl: 1m\n", cache(2 << 30, minute)),
        ] {
            assert_eq!(read(more).unwrap().cache, Some(wanted), "{more}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_line_with_what_to_do() {
        for (more, message) in [
            (
                "maxBatchSize: 0",
                "model.yaml:3: 'maxBatchSize' is 0: it is 1 to 4096; write a number in that range, or remove it",
            ),
            (
                "instances: 65",
                "model.yaml:3: 'instances' is 65: it is 1 to 64;",
            ),
            (
                "maxQueueDelay: 2ms",
                "model.yaml:3: 'maxQueueDelay' without 'maxBatchSize': a request",
            ),
            (
                "timeout: soon",
                "model.yaml:3: 'timeout' is 'soon': it is no span of time",
            ),
            (
                "timeout: 2h",
                "model.yaml:3: 'timeout' is 2h: it is at most 1h;",
            ),
            (
                "forwardTimeout: 1ms",
                "model.yaml:3: 'forwardTimeout' is 1ms: the server ends when",
            ),
            (
                "unloadAfter: 10m",
                "model.yaml:3: 'unloadAfter' without 'load: lazy': nothing would load the model again; add",
            ),
            (
                "load: lazy\nunloadAfter: 0s",
                "model.yaml:4: 'unloadAfter' is 0: the model would go before",
            ),
            (
                "reset: self.reset()",
                "model.yaml:3: 'reset' is 'self.reset()': it is the name of a method of the module, which takes nothing; write",
            ),
            (
                "cache: {size: much}",
                "model.yaml:3: 'size' is 'much': it is 1.0 KiB to 1.0 TiB; write one such as 64MiB",
            ),
            ("cache: {size: 10}", "model.yaml:3: 'size' is '10': it is"),
            (
                "cache: {ttl: 0s}",
                "model.yaml:3: 'ttl' is 0: no answer would be given again;",
            ),
            ("cache: {TTL: 1s}", "model.yaml:3: not a valid model.yaml: "),
            ("load: never", "model.yaml:3: not a valid model.yaml: "),
            ("maxbatchsize: 1", "model.yaml:3: not a valid model.yaml: "),
        ] {
            let found = read(more).unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn a_fixed_first_dimension_cannot_be_batched() {
        let text = "inputs: [{name: x, datatype: FP32, shape: [7]}]
outputs: [{name: y, datatype: FP32, shape: []}]
maxBatchSize: 4
";
        let problems = parse(Path::new("m"), text).unwrap_err();
        let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("m:3: 'maxBatchSize' with input 'x' of shape [7]: "));
    }
}
