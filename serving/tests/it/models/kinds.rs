//! One small model of each kind that people serve, all of which treat each row by itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tch::{CModule, Device, IValue, Kind, Tensor};

use super::{FEATURES, numbers, scorer, scorer_yaml, source::returning, trace};

/// Rows of the table of [`words`], so that 0 to 49 are its words.
const WORDS: i64 = 50;
/// Values of the state of [`memory`].
const STATE: i64 = 8;

/// A model, and what it is asked.
pub(crate) struct Sort {
    pub(crate) name: &'static str,
    yaml: String,
    save: fn(&Path),
    /// The inputs of a request, which follow from a number, of so many rows.
    pub(crate) request: fn(i64, i64) -> Vec<(&'static str, Tensor)>,
}

/// A perceptron, a network of convolutions, one of words, one of several outputs, and one whose state goes in and out.
pub(crate) fn all() -> Vec<Sort> {
    let tensor = |name: &str, datatype: &str, rest: &str| {
        format!("{{name: {name}, datatype: {datatype}, shape: [-1{rest}]}}")
    };
    let yaml = |inputs: &[String], outputs: &[String]| {
        let (inputs, outputs) = (inputs.join(", "), outputs.join(", "));
        format!("inputs: [{inputs}]\noutputs: [{outputs}]\n")
    };
    vec![
        Sort {
            name: "perceptron",
            yaml: scorer_yaml(),
            save: |file| scorer(3).save(file).unwrap(),
            request: |call, rows| vec![("features", numbers(call, &[rows, FEATURES]))],
        },
        Sort {
            name: "image",
            yaml: yaml(
                &[tensor("image", "FP32", ", 3, 16, 16")],
                &[tensor("classes", "FP32", ", 10")],
            ),
            save: |file| image().save(file).unwrap(),
            request: |call, rows| vec![("image", numbers(call, &[rows, 3, 16, 16]))],
        },
        Sort {
            name: "words",
            yaml: yaml(
                &[tensor("tokens", "INT64", ", 6")],
                &[tensor("meaning", "FP32", ", 4")],
            ),
            save: |file| words().save(file).unwrap(),
            request: |call, rows| {
                let tokens = (0..rows * 6).map(|it| (it * 7 + call) % WORDS);
                let tokens = Tensor::from_slice(&tokens.collect::<Vec<_>>());
                vec![("tokens", tokens.reshape([rows, 6]))]
            },
        },
        Sort {
            name: "several",
            yaml: yaml(
                &[tensor("features", "FP32", ", 7")],
                &[
                    tensor("classes", "FP32", ", 3"),
                    tensor("best", "INT64", ""),
                    tensor("sure", "BOOL", ""),
                ],
            ),
            save: |file| {
                let value = "(rows, torch.argmax(rows, 1), torch.gt(torch.amax(rows, [1]), 0.5))";
                classes().save(file).unwrap();
                returning(file, "Tuple[Tensor, Tensor, Tensor]", value);
            },
            request: |call, rows| vec![("features", numbers(call, &[rows, FEATURES]))],
        },
        Sort {
            name: "memory",
            yaml: yaml(
                &[
                    tensor("features", "FP32", ", 7"),
                    tensor("before", "FP32", ", 8"),
                ],
                &[
                    tensor("score", "FP32", ", 1"),
                    tensor("after", "FP32", ", 8"),
                ],
            ),
            save: |file| {
                let value = "(torch.sum(rows, [1], True), rows)";
                memory().save(file).unwrap();
                returning(file, "Tuple[Tensor, Tensor]", value);
            },
            request: |call, rows| {
                vec![
                    ("features", numbers(call, &[rows, FEATURES])),
                    ("before", numbers(call + 1, &[rows, STATE])),
                ]
            },
        },
    ]
}

impl Sort {
    /// Adds it to a repository, with more in its model.yaml, and returns the file.
    pub(crate) fn add(&self, dir: &Path, more: &str) -> PathBuf {
        let folder = dir.join(self.name);
        self.publish(dir, 1);
        fs::write(folder.join("model.yaml"), format!("{}{more}", self.yaml)).unwrap();
        folder.join("1/model.pt")
    }

    /// Adds a version, moved into place as a whole.
    pub(crate) fn publish(&self, dir: &Path, version: u64) {
        let folder = dir.join(self.name);
        let hidden = folder.join(format!(".{version}"));
        fs::create_dir_all(&hidden).unwrap();
        (self.save)(&hidden.join("model.pt"));
        fs::rename(hidden, folder.join(version.to_string())).unwrap();
    }
}

/// What libtorch itself computes.
pub(crate) fn direct(module: &CModule, inputs: &[(&str, Tensor)]) -> Vec<Tensor> {
    let inputs: Vec<_> = inputs
        .iter()
        .map(|(_, it)| IValue::Tensor(it.shallow_clone()))
        .collect();
    match tch::no_grad(|| module.forward_is(&inputs)).unwrap() {
        IValue::Tensor(output) => vec![output],
        IValue::Tuple(outputs) => {
            let outputs = outputs.into_iter().map(|it| match it {
                IValue::Tensor(output) => output,
                other => panic!("{other:?}"),
            });
            outputs.collect()
        }
        other => panic!("{other:?}"),
    }
}

fn image() -> CModule {
    let (filters, bias) = (numbers(1, &[8, 3, 3, 3]), numbers(2, &[8]));
    let (mean, variance) = (numbers(3, &[8]), numbers(4, &[8]).abs() + 0.5);
    let out = numbers(5, &[8 * 8 * 8, 10]);
    trace(&[numbers(6, &[1, 3, 16, 16])], |inputs| {
        inputs[0]
            .conv2d(&filters, Some(&bias), [1, 1], [1, 1], [1, 1], 1)
            .batch_norm(
                None::<&Tensor>,
                None::<&Tensor>,
                Some(&mean),
                Some(&variance),
                false,
                0.1,
                1e-5,
                false,
            )
            .relu()
            .max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
            .flatten(1, -1)
            .matmul(&out)
            .softmax(1, Kind::Float)
    })
}

fn words() -> CModule {
    let (table, out) = (numbers(1, &[WORDS, 16]), numbers(2, &[16, 4]));
    let tokens = Tensor::zeros([1, 6], (Kind::Int64, Device::Cpu));
    trace(&[tokens], |inputs| {
        Tensor::embedding(&table, &inputs[0], -1, false, false)
            .mean_dim([1].as_slice(), false, Kind::Float)
            .matmul(&out)
    })
}

fn classes() -> CModule {
    let weights = numbers(1, &[FEATURES, 3]);
    trace(&[numbers(2, &[1, FEATURES])], |inputs| {
        inputs[0].matmul(&weights).softmax(1, Kind::Float)
    })
}

/// A cell of a GRU.
fn memory() -> CModule {
    let (input, hidden) = (
        numbers(1, &[3 * STATE, FEATURES]),
        numbers(2, &[3 * STATE, STATE]),
    );
    let (input_bias, hidden_bias) = (numbers(3, &[3 * STATE]), numbers(4, &[3 * STATE]));
    let example = [numbers(5, &[1, FEATURES]), numbers(6, &[1, STATE])];
    trace(&example, |inputs| {
        let biases = (Some(&input_bias), Some(&hidden_bias));
        inputs[0].gru_cell(&inputs[1], &input, &hidden, biases.0, biases.1)
    })
}
