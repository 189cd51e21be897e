//! What Triton's extensions tell of models: configuration, statistics and the index of the repository, in the shape of
//! its JSON. Only what is there is told.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    backend::torch::PLATFORM,
    grpc::proto,
    metrics::{Counted, Metrics},
    registry::{ModelVersion, Models, NotFound},
    repository::{Entry, MODEL_FILE},
    spec::TensorSpec,
    tensor::Datatype,
};

/// The configuration of a model.
#[derive(Debug, Serialize)]
pub struct ModelConfig {
    name: String,
    platform: &'static str,
    backend: &'static str,
    /// 0: the shapes are whole. More: they are those of a row, without the first dimension.
    max_batch_size: i32,
    input: Vec<Declaration>,
    output: Vec<Declaration>,
    default_model_filename: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_cache: Option<ResponseCache>,
}

#[derive(Debug, Serialize)]
struct ResponseCache {
    enable: bool,
}

/// One input or output of a configuration.
#[derive(Debug, Serialize)]
pub struct Declaration {
    name: String,
    data_type: String,
    dims: Vec<i64>,
}

/// The statistics of some model versions.
#[derive(Debug, Serialize)]
pub struct Statistics {
    /// One for each version.
    pub model_stats: Vec<ModelStatistics>,
}

/// The statistics of one model version.
#[derive(Debug, Serialize)]
pub struct ModelStatistics {
    name: String,
    version: String,
    /// Milliseconds since the epoch; 0 if there was none.
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: InferStatistics,
}

#[derive(Debug, Serialize)]
struct InferStatistics {
    success: StatisticDuration,
    fail: StatisticDuration,
    queue: StatisticDuration,
    compute_input: StatisticDuration,
    compute_infer: StatisticDuration,
    compute_output: StatisticDuration,
    cache_hit: StatisticDuration,
    cache_miss: StatisticDuration,
}

/// A number of requests and their time altogether, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct StatisticDuration {
    count: u64,
    ns: u64,
}

/// One model version of the index.
#[derive(Debug, Serialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `READY` or `UNAVAILABLE`.
    pub state: &'static str,
    /// Why it is not ready, or what else the operator should know of it; mostly empty.
    pub reason: String,
}

impl ModelConfig {
    /// Of a model version.
    #[must_use]
    pub fn new(loaded: &ModelVersion) -> Self {
        let most = loaded.spec.serving.max_batch_size;
        let beyond = usize::from(most.is_some());
        let declared = |all: &[TensorSpec]| {
            let all = all.iter().map(|it| Declaration::new(it, beyond));
            all.collect()
        };
        Self {
            name: loaded.model.clone(),
            platform: PLATFORM,
            backend: "pytorch",
            max_batch_size: most.map_or(0, |it| i32::try_from(it).unwrap_or(i32::MAX)),
            input: declared(&loaded.spec.inputs),
            output: declared(&loaded.spec.outputs),
            default_model_filename: MODEL_FILE,
            response_cache: loaded
                .cache
                .as_ref()
                .map(|_| ResponseCache { enable: true }),
        }
    }
}

impl Declaration {
    /// Of the dimensions those beyond so many.
    fn new(spec: &TensorSpec, beyond: usize) -> Self {
        Self {
            name: spec.name.clone(),
            data_type: data_type(spec.datatype).as_str_name().to_owned(),
            dims: spec.shape.iter().skip(beyond).copied().collect(),
        }
    }
}

/// The statistics of one model version, of all versions of a model, or of all.
///
/// # Errors
/// [`NotFound`]
pub fn statistics(
    models: &Models,
    metrics: &Metrics,
    model: Option<&str>,
    version: Option<&str>,
) -> Result<Statistics, NotFound> {
    if let Some(model) = model {
        models.seek(model, version)?;
    }
    let versions = models.iter().filter(|loaded| {
        model.is_none_or(|model| model == loaded.model)
            && version.is_none_or(|version| version == loaded.version.to_string())
    });
    let model_stats = versions.map(|loaded| ModelStatistics::new(loaded, metrics));
    Ok(Statistics {
        model_stats: model_stats.collect(),
    })
}

impl ModelStatistics {
    fn new(loaded: &ModelVersion, metrics: &Metrics) -> Self {
        let Counted {
            success,
            fail,
            queue,
            compute,
            hit,
            miss,
            forwards,
            rows,
            last,
        } = metrics.counted(loaded);
        let duration = |(count, time): (u64, Duration)| StatisticDuration {
            count,
            ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        };
        Self {
            name: loaded.model.clone(),
            version: loaded.version.to_string(),
            last_inference: last,
            inference_count: rows,
            execution_count: forwards,
            inference_stats: InferStatistics {
                success: duration(success),
                fail: duration(fail),
                queue: duration(queue),
                compute_input: StatisticDuration::default(),
                compute_infer: duration(compute),
                compute_output: StatisticDuration::default(),
                cache_hit: duration(hit),
                cache_miss: duration(miss),
            },
        }
    }
}

/// All model versions, loaded or not, or those that can serve.
#[must_use]
pub fn index(models: &Models, only_ready: bool) -> Vec<IndexEntry> {
    let asleep: Vec<_> = models.asleep().map(|it| (it, it.remark())).collect();
    let mut index = BTreeMap::new();
    for (sleeper, remark) in &asleep {
        let Entry { model, version, .. } = &sleeper.entry;
        index.insert((&**model, *version), ("UNAVAILABLE", &**remark));
    }
    for (model, version, remark) in models.remarks() {
        index.insert((model, version), ("UNAVAILABLE", remark));
    }
    for loaded in models.iter() {
        let entry = index.entry((&*loaded.model, loaded.version));
        let (state, reason) = entry.or_insert(("READY", ""));
        *state = "READY";
        if !loaded.worker.is_alive() {
            (*state, *reason) = ("UNAVAILABLE", "its worker thread has ended");
        }
    }
    let wanted = |state: &str| !only_ready || state == "READY";
    let entries = index.into_iter().filter(|(_, (state, _))| wanted(state));
    let entry = |((model, version), (state, reason)): ((&str, u64), (_, &str))| IndexEntry {
        name: model.to_owned(),
        version: version.to_string(),
        state,
        reason: reason.to_owned(),
    };
    entries.map(entry).collect()
}

fn data_type(datatype: Datatype) -> proto::DataType {
    match datatype {
        Datatype::Bool => proto::DataType::TypeBool,
        Datatype::Uint8 => proto::DataType::TypeUint8,
        Datatype::Int8 => proto::DataType::TypeInt8,
        Datatype::Int16 => proto::DataType::TypeInt16,
        Datatype::Int32 => proto::DataType::TypeInt32,
        Datatype::Int64 => proto::DataType::TypeInt64,
        Datatype::Fp16 => proto::DataType::TypeFp16,
        Datatype::Bf16 => proto::DataType::TypeBf16,
        Datatype::Fp32 => proto::DataType::TypeFp32,
        Datatype::Fp64 => proto::DataType::TypeFp64,
    }
}

fn number(declaration: &Declaration) -> i32 {
    proto::DataType::from_str_name(&declaration.data_type)
        .unwrap_or_default()
        .into()
}

impl From<ModelConfig> for proto::ModelConfig {
    fn from(config: ModelConfig) -> Self {
        let input = config.input.into_iter().map(|input| proto::ModelInput {
            data_type: number(&input),
            name: input.name,
            dims: input.dims,
        });
        let output = config.output.into_iter().map(|output| proto::ModelOutput {
            data_type: number(&output),
            name: output.name,
            dims: output.dims,
        });
        Self {
            name: config.name,
            platform: config.platform.to_owned(),
            max_batch_size: config.max_batch_size,
            input: input.collect(),
            output: output.collect(),
            default_model_filename: config.default_model_filename.to_owned(),
            backend: config.backend.to_owned(),
            response_cache: config
                .response_cache
                .map(|it| proto::ModelResponseCache { enable: it.enable }),
        }
    }
}

impl From<StatisticDuration> for proto::StatisticDuration {
    fn from(StatisticDuration { count, ns }: StatisticDuration) -> Self {
        Self { count, ns }
    }
}

impl From<ModelStatistics> for proto::ModelStatistics {
    fn from(stats: ModelStatistics) -> Self {
        let inference = stats.inference_stats;
        Self {
            name: stats.name,
            version: stats.version,
            last_inference: stats.last_inference,
            inference_count: stats.inference_count,
            execution_count: stats.execution_count,
            inference_stats: Some(proto::InferStatistics {
                success: Some(inference.success.into()),
                fail: Some(inference.fail.into()),
                queue: Some(inference.queue.into()),
                compute_input: Some(inference.compute_input.into()),
                compute_infer: Some(inference.compute_infer.into()),
                compute_output: Some(inference.compute_output.into()),
                cache_hit: Some(inference.cache_hit.into()),
                cache_miss: Some(inference.cache_miss.into()),
            }),
        }
    }
}
