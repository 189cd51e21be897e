//! Small TorchScript models and the repositories they are served from.

pub(crate) mod kinds;
pub(crate) mod source;

use std::{fs, path::Path};

use tch::{CModule, Device, Kind, Tensor};
use tempfile::TempDir;

/// Columns of the scoring model.
pub(crate) const FEATURES: i64 = 7;
/// Rows of the embedding table.
pub(crate) const ROWS: i64 = 16;

/// A model.yaml with one FP32 output of any number of rows.
pub(crate) fn yaml(inputs: &str, output_shape: &str) -> String {
    format!(
        "inputs: [{inputs}]\noutputs: [{{name: score, datatype: FP32, shape: {output_shape}}}]\n"
    )
}

/// The model.yaml of [`scorer`].
pub(crate) fn scorer_yaml() -> String {
    yaml(
        "{name: features, datatype: FP32, shape: [-1, 7]}",
        "[-1, 1]",
    )
}

/// The model.yaml of [`embedding`].
pub(crate) fn embedding_yaml() -> String {
    yaml("{name: tokens, datatype: INT64, shape: [-1]}", "[-1, 4]")
}

/// Numbers in (-1, 1) that follow from `seed` and use every bit of a float.
///
/// Not from libtorch's generator: the whole process shares it, and tests run at the same time.
pub(crate) fn numbers(seed: i64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let seed = f64::from(u16::try_from(seed).unwrap());
    let values: Vec<f32> = (0_u16..)
        .take(count as usize)
        .map(|i| (f64::from(i) * 1.7 + seed).sin() as f32)
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// A perceptron, whose weights follow from `seed`.
pub(crate) fn scorer(seed: i64) -> CModule {
    let (hidden, out) = (numbers(seed, &[FEATURES, 16]), numbers(seed + 1, &[16, 1]));
    trace(&[numbers(seed, &[1, FEATURES])], |inputs| {
        inputs[0].matmul(&hidden).tanh().matmul(&out).sigmoid()
    })
}

/// A lookup of [`ROWS`] rows, which throws for any index outside.
pub(crate) fn embedding() -> CModule {
    let table = Tensor::arange(ROWS * 4, (Kind::Float, Device::Cpu)).reshape([ROWS, 4]);
    let tokens = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
    trace(&[tokens], |inputs| {
        Tensor::embedding(&table, &inputs[0], -1, false, false)
    })
}

/// A model.yaml of [`grinder`], of `size` values.
pub(crate) fn grinder_yaml(size: i64) -> String {
    yaml(
        &format!("{{name: x, datatype: FP32, shape: [{size}]}}"),
        &format!("[{size}]"),
    )
}

/// Multiplies 5 000 matrices of n x n for an input of n values: many seconds of a core for 400.
///
/// Many short operations, because libtorch's own state is used between them.
pub(crate) fn grinder() -> CModule {
    let x = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    trace(&[x], |inputs| {
        let x = &inputs[0];
        let factor = x.unsqueeze(1) * x.unsqueeze(0);
        let product = (0..5_000).fold(factor.shallow_clone(), |product, _| product.matmul(&factor));
        product.select(0, 0)
    })
}

/// Any model of one output, traced on `inputs`.
pub(crate) fn trace(inputs: &[Tensor], forward: impl Fn(&[Tensor]) -> Tensor) -> CModule {
    CModule::create_by_tracing("Model", "forward", inputs, &mut |inputs: &[Tensor]| {
        vec![forward(inputs)]
    })
    .unwrap()
}

/// A repository of model `name`, version 1.
pub(crate) fn repository(name: &str, yaml: &str, module: &CModule) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), name, 1, yaml, module);
    dir
}

/// Adds a model version to a repository.
pub(crate) fn add(dir: &Path, name: &str, version: u64, yaml: &str, module: &CModule) {
    let model = dir.join(name);
    let folder = model.join(version.to_string());
    fs::create_dir_all(&folder).unwrap();
    fs::write(model.join("model.yaml"), yaml).unwrap();
    module.save(folder.join("model.pt")).unwrap();
}
