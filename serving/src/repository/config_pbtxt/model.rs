//! From Triton's configuration to ours.

use std::{path::Path, time::Duration};

use super::{
    Described, Problem,
    proto::{
        DataType, ModelConfig, ModelDynamicBatching, ModelInstanceGroup, ModelVersionPolicy,
        model_config::SchedulingChoice, model_instance_group::Kind,
        model_queue_policy::TimeoutAction, model_version_policy::PolicyChoice,
    },
};
use crate::{
    device::Device,
    repository::{
        MODEL_FILE, VersionPolicy,
        model_yaml::{
            DEFAULT_CACHE, MAX_BATCH, MAX_DELAY, MAX_INSTANCES, MAX_QUEUE, MAX_TIMEOUT,
            MAX_VERSIONS,
        },
    },
    spec::{CacheSpec, DYNAMIC, MAX_TENSORS, ModelSpec, Serving, TensorSpec, sized},
    tensor::{Datatype, TensorError, check_shape},
};

pub(super) struct Checker<'f> {
    file: &'f Path,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

/// One input or output as the file has it.
struct Declared<'c> {
    name: &'c str,
    data_type: i32,
    dims: &'c [i64],
}

impl<'f> Checker<'f> {
    pub(super) fn new(file: &'f Path) -> Self {
        Self {
            file,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn refuse(
        &mut self,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.problems.push(Problem::new(self.file, what, why, fix));
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = format!("config.pbtxt: {}", note.into());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn finish(self, mut described: Described) -> Result<Described, Vec<Problem>> {
        if self.problems.is_empty() {
            described.notes = self.notes;
            Ok(described)
        } else {
            Err(self.problems)
        }
    }

    /// What is not right is refused; what comes back then is of no use.
    pub(super) fn model(&mut self, folder: &str, config: &ModelConfig) -> Described {
        if !config.name.is_empty() && config.name != folder {
            let what = format!("'name' is '{}'", config.name);
            let fix = "rename the folder, or take 'name' out";
            self.refuse(
                what,
                format!("the model is that of the folder '{folder}'"),
                fix,
            );
        }
        self.runs_on_libtorch(config);
        let file = &config.default_model_filename;
        if !file.is_empty() && file != MODEL_FILE {
            let what = format!("'default_model_filename' is '{file}'");
            let why = format!("a version is its {MODEL_FILE}");
            self.refuse(what, why, format!("rename the file to {MODEL_FILE}"));
        }
        let rows = usize::try_from(config.max_batch_size).ok();
        if rows.is_none_or(|rows| rows as u64 > MAX_BATCH) {
            let what = format!("'max_batch_size' is {}", config.max_batch_size);
            let fix = "write a number in that range";
            self.refuse(what, format!("it is 0 to {MAX_BATCH}"), fix);
        }
        let rows = rows.filter(|rows| *rows > 0);
        let inputs = config.input.iter().map(|it| Declared {
            name: &it.name,
            data_type: it.data_type,
            dims: &it.dims,
        });
        let mut inputs = self.tensors("input", inputs.collect(), rows.is_some());
        let outputs = config.output.iter().map(|it| Declared {
            name: &it.name,
            data_type: it.data_type,
            dims: &it.dims,
        });
        let outputs = self.tensors("output", outputs.collect(), rows.is_some());
        let cache = config.response_cache.as_ref().filter(|it| it.enable);
        let mut serving = Serving {
            instances: self.instances(&config.instance_group),
            // Triton has one for all models, of a size that the server says.
            cache: cache.map(|_| CacheSpec {
                size: DEFAULT_CACHE,
                ttl: None,
            }),
            ..Serving::default()
        };
        match (&config.scheduling_choice, rows) {
            (Some(SchedulingChoice::DynamicBatching(batching)), rows) => {
                if rows.is_none() {
                    self.note("'dynamic_batching' joins no requests, because 'max_batch_size' is 0");
                }
                serving.max_batch_size = rows;
                self.batching(batching, &mut serving);
            }
            (_, Some(rows)) => self.note(format!(
                "without 'dynamic_batching' each request runs alone; that it has {rows} rows at the most is not checked"
            )),
            (_, None) => {}
        }
        if let Some(rows) = serving.max_batch_size {
            for tensor in inputs.iter().chain(&outputs) {
                let batch = check_shape(&tensor.smallest(rows));
                if let Err(error @ TensorError::Elements { .. }) = batch {
                    let what = format!("a batch of '{}' is too large", tensor.name);
                    self.refuse(what, error.to_string(), "lower 'max_batch_size'");
                }
            }
        }
        let joined = serving.max_batch_size.is_some();
        self.warm_up(config, &mut inputs, joined);
        Described {
            versions: self.versions(config.version_policy.as_ref()),
            spec: ModelSpec {
                inputs,
                outputs,
                serving,
            },
            notes: Vec::new(),
        }
    }

    fn runs_on_libtorch(&mut self, config: &ModelConfig) {
        let ModelConfig {
            platform, backend, ..
        } = config;
        let fix = "write 'platform: \"pytorch_libtorch\"' for a TorchScript model";
        let fits =
            matches!(&**platform, "" | "pytorch_libtorch") && matches!(&**backend, "" | "pytorch");
        if !fits {
            let what = format!("platform '{platform}', backend '{backend}'");
            self.refuse(what, "only TorchScript on libtorch is served here", fix);
        } else if platform.is_empty() && backend.is_empty() {
            self.refuse(
                "no platform and no backend",
                "it says nothing of what runs the model",
                fix,
            );
        }
    }

    /// In the order of `forward`.
    fn tensors(
        &mut self,
        role: &str,
        mut all: Vec<Declared<'_>>,
        batched: bool,
    ) -> Vec<TensorSpec> {
        if all.is_empty() || all.len() > MAX_TENSORS {
            let what = format!("{} {role}s", all.len());
            let why = format!("a model has 1 to {MAX_TENSORS}, and they are not guessed");
            self.refuse(what, why, format!("declare the {role}s of 'forward'"));
        }
        let numbers: Vec<Option<usize>> = all.iter().map(|it| position(it.name)).collect();
        if numbers.iter().all(Option::is_some) {
            let mut sorted: Vec<usize> = numbers.iter().copied().flatten().collect();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..all.len()) {
                let what = format!("the numbers of the {role}s are {sorted:?}");
                let why = format!(
                    "the number after '__' is the place in 'forward', here 0 to {}",
                    all.len().saturating_sub(1)
                );
                self.refuse(what, why, "number each place once");
            }
            all.sort_by_key(|it| position(it.name));
        } else if numbers.iter().any(Option::is_some) {
            let what = format!("some {role}s are numbered with '__', and others are not");
            self.refuse(
                what,
                "their order is not known",
                "number all of them or none",
            );
        } else if all.len() > 1 {
            self.note(format!(
                "the {role}s are taken in the order of the file, which has to be that of 'forward'"
            ));
        }
        let mut names: Vec<&str> = all.iter().map(|it| it.name).collect();
        names.sort_unstable();
        if names.first().is_some_and(|name| name.is_empty()) {
            self.refuse(
                format!("an {role} has no name"),
                "requests name it",
                "give it a name",
            );
        }
        for pair in names.windows(2) {
            if let [one, other] = pair
                && one == other
            {
                self.refuse(
                    format!("{role} '{one}' is declared twice"),
                    "requests tell tensors apart by name",
                    "rename one",
                );
            }
        }
        let specs = all.iter().filter_map(|it| self.tensor(role, it, batched));
        specs.collect()
    }

    fn tensor(&mut self, role: &str, declared: &Declared<'_>, batched: bool) -> Option<TensorSpec> {
        let Declared {
            name,
            data_type,
            dims,
        } = declared;
        let data_type = DataType::try_from(*data_type).unwrap_or_default();
        let datatype = match data_type {
            DataType::TypeInvalid => Err("it is not said".to_owned()),
            DataType::TypeString => "BYTES"
                .parse::<Datatype>()
                .map_err(|error| error.to_string()),
            known => known
                .as_str_name()
                .trim_start_matches("TYPE_")
                .parse::<Datatype>()
                .map_err(|error| error.to_string()),
        };
        if let Err(why) = &datatype {
            let what = format!(
                "'data_type' of {role} '{name}' is {}",
                data_type.as_str_name()
            );
            self.refuse(what, &**why, "change it, or cast inside the model");
        }
        if let Err(error) = check_shape(&sized(dims, 1)) {
            let what = format!("'dims' of {role} '{name}' is {dims:?}");
            self.refuse(
                what,
                error.to_string(),
                "write sizes from 1, or -1 for any size",
            );
        }
        if dims.is_empty() && !batched {
            let what = format!("'dims' of {role} '{name}' is empty");
            self.refuse(
                what,
                "Triton wants at least one",
                "write the dimensions of the tensor",
            );
        }
        // Triton leaves out the dimension that counts rows.
        let rows = batched.then_some(DYNAMIC);
        datatype.ok().map(|datatype| {
            let shape = rows.into_iter().chain(dims.iter().copied()).collect();
            TensorSpec::new(*name, datatype, shape)
        })
    }

    fn instances(&mut self, groups: &[ModelInstanceGroup]) -> Vec<Device> {
        let mut instances = Vec::new();
        let mut count = 0;
        for group in groups {
            let gpus = group.gpus.iter().map(|it| format!("cuda:{it}").parse());
            let gpus: Option<Vec<_>> = gpus.map(Result::ok).collect();
            let devices = match (group.kind(), gpus) {
                (_, None) => {
                    let what = format!("'instance_group.gpus' is {:?}", group.gpus);
                    self.refuse(what, "they are numbers from 0", "write those of CUDA");
                    continue;
                }
                (Kind::Gpu, Some(gpus)) if gpus.is_empty() => {
                    self.note("'instance_group' of KIND_GPU runs on cuda:0: name others by 'gpus'");
                    vec![Device::Cuda(0)]
                }
                (Kind::Gpu, Some(gpus)) => gpus,
                (Kind::Auto, Some(gpus)) if !gpus.is_empty() => gpus,
                (Kind::Model, Some(_)) => {
                    self.note("'instance_group' of KIND_MODEL runs on the CPU");
                    vec![Device::Cpu]
                }
                (Kind::Auto, Some(_)) => {
                    // Without any group Triton takes the GPUs, too. Most files have none, so only the README says that.
                    self.note("'instance_group' of KIND_AUTO runs on the CPU: name GPUs by 'gpus', or write KIND_CPU");
                    vec![Device::Cpu]
                }
                (Kind::Cpu, Some(_)) => vec![Device::Cpu],
            };
            // None said is one.
            let each = u64::try_from(group.count.max(1)).unwrap_or(1);
            count += each.saturating_mul(devices.len() as u64);
            let each = usize::try_from(each.min(MAX_INSTANCES)).unwrap_or(1);
            instances.extend(std::iter::repeat_n(devices, each).flatten());
        }
        if groups.is_empty() {
            instances.push(Device::Cpu);
        }
        if count > MAX_INSTANCES {
            let what = format!("'instance_group' has {count} instances");
            self.refuse(
                what,
                format!("there are at most {MAX_INSTANCES}"),
                "lower 'count'",
            );
        }
        instances
    }

    fn batching(&mut self, batching: &ModelDynamicBatching, serving: &mut Serving) {
        let delay = Duration::from_micros(batching.max_queue_delay_microseconds);
        serving.max_queue_delay = self.time("max_queue_delay_microseconds", delay, MAX_DELAY);
        let Some(policy) = &batching.default_queue_policy else {
            return;
        };
        if u64::from(policy.max_queue_size) > MAX_QUEUE {
            let what = format!("'max_queue_size' is {}", policy.max_queue_size);
            self.refuse(what, format!("it is at most {MAX_QUEUE}"), "lower it");
        }
        // 0 is no limit in Triton, as is no policy; here both are that of the server, which the README says.
        serving.queue_size = usize::try_from(policy.max_queue_size)
            .ok()
            .filter(|it| *it > 0);
        let timeout = Duration::from_micros(policy.default_timeout_microseconds);
        let timeout = self.time("default_timeout_microseconds", timeout, MAX_TIMEOUT);
        if timeout.is_zero() {
            return;
        }
        if policy.timeout_action() == TimeoutAction::Delay {
            self.note("'default_timeout_microseconds' is ignored: with 'timeout_action: DELAY' it refuses nothing");
            return;
        }
        self.note("'default_timeout_microseconds' counts waiting and computing together");
        if !policy.allow_timeout_override {
            self.note("requests may want less than 'default_timeout_microseconds', also without 'allow_timeout_override'");
        }
        if timeout <= serving.max_queue_delay {
            let what = format!(
                "'max_queue_delay_microseconds' is {}",
                batching.max_queue_delay_microseconds
            );
            let why = "it leaves nothing of 'default_timeout_microseconds' for the forward";
            self.refuse(what, why, "make it shorter");
        }
        serving.timeout = Some(timeout);
    }

    fn time(&mut self, name: &str, time: Duration, most: Duration) -> Duration {
        if time > most {
            let what = format!("'{name}' is {}", time.as_micros());
            self.refuse(
                what,
                format!("it is at most {}", most.as_micros()),
                "lower it",
            );
        }
        time
    }

    fn versions(&mut self, policy: Option<&ModelVersionPolicy>) -> VersionPolicy {
        match policy.and_then(|it| it.policy_choice.as_ref()) {
            // Triton's default is not ours.
            None => VersionPolicy::Latest(1),
            Some(PolicyChoice::All(_)) => VersionPolicy::All,
            Some(PolicyChoice::Latest(latest)) => {
                let count = u64::from(latest.num_versions);
                if !(1..=MAX_VERSIONS).contains(&count) {
                    let what = format!("'num_versions' is {count}");
                    self.refuse(
                        what,
                        format!("it is 1 to {MAX_VERSIONS}"),
                        "write a number in that range",
                    );
                }
                VersionPolicy::Latest(usize::try_from(count).unwrap_or(usize::MAX))
            }
            Some(PolicyChoice::Specific(specific)) => {
                let wanted = specific
                    .versions
                    .iter()
                    .map(|it| u64::try_from(*it).unwrap_or(0));
                let wanted: Vec<u64> = wanted.collect();
                if wanted.is_empty() || wanted.len() as u64 > MAX_VERSIONS || wanted.contains(&0) {
                    let what = format!("'versions' is {:?}", specific.versions);
                    self.refuse(
                        what,
                        "versions are whole numbers from 1, and at least one is served",
                        "name those to serve",
                    );
                }
                VersionPolicy::Specific(wanted)
            }
        }
    }
}

/// The place that a name such as `INPUT__0` says.
fn position(name: &str) -> Option<usize> {
    let (_, number) = name.rsplit_once("__")?;
    let is_number = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}
