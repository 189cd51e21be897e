//! `model_warmup`: which shapes a model is warmed up with.

use super::{
    model::Checker,
    proto::{ModelConfig, ModelWarmup, model_warmup::input::InputDataType},
};
use crate::{
    spec::{DYNAMIC, MAX_SHAPES, TensorSpec},
    tensor::{TensorError, check_shape},
};

impl Checker<'_> {
    /// Adds the shapes of its samples to the inputs. Where requests are `joined`, each of them is warmed up with in every
    /// size of batch, and not only in that of the sample.
    pub(super) fn warm_up(
        &mut self,
        config: &ModelConfig,
        inputs: &mut [TensorSpec],
        joined: bool,
    ) {
        let most = u32::try_from(config.max_batch_size).unwrap_or(0);
        // Of each sample those of the inputs, in their order.
        let mut samples: Vec<Vec<Vec<i64>>> = Vec::new();
        for sample in &config.model_warmup {
            if sample.batch_size == 0 {
                let name = &sample.name;
                self.note(format!(
                    "'model_warmup' '{name}' is ignored: its 'batch_size' is 0"
                ));
                continue;
            }
            if !joined && sample.batch_size > most.max(1) {
                let (name, size, most) = (&sample.name, sample.batch_size, most.max(1));
                self.note(format!(
                    "'batch_size' {size} of 'model_warmup' '{name}' is read as {most}, the most rows that there are"
                ));
            }
            let rows = match (joined, most) {
                (true, _) => Some(DYNAMIC),
                (false, 0) => None,
                (false, most) => Some(sample.batch_size.min(most).into()),
            };
            self.contents(sample, inputs);
            // All of them, for what is wrong with each.
            let shapes = inputs.iter().map(|it| self.shape(sample, it, rows));
            let shapes: Vec<_> = shapes.collect();
            let shapes: Option<Vec<_>> = shapes.into_iter().collect();
            samples.extend(shapes.filter(|it| !samples.contains(it)));
        }
        if samples.len() > MAX_SHAPES {
            let what = format!("'model_warmup' has {} different samples", samples.len());
            let why = format!("there are at most {MAX_SHAPES}");
            self.refuse(what, why, "leave those that most requests are like");
        }
        for sample in samples {
            for (input, shape) in inputs.iter_mut().zip(sample) {
                input.warm_up.shapes.push(shape);
            }
        }
    }

    /// Says what of a sample is not heeded.
    fn contents(&mut self, sample: &ModelWarmup, inputs: &[TensorSpec]) {
        for (name, input) in &sample.inputs {
            if inputs.iter().all(|it| it.name != *name) {
                self.note(format!(
                    "'model_warmup' of '{name}' is ignored: there is no such input"
                ));
            }
            let ignored = match input.input_data_type {
                Some(InputDataType::RandomData(true)) => "random_data",
                Some(InputDataType::InputDataFile(_)) => "input_data_file",
                _ => continue,
            };
            self.note(format!(
                "'model_warmup.inputs.{ignored}' is ignored: the values are zeros"
            ));
        }
    }

    /// The shape of an input in a sample. What is not right is refused, as Triton would not load the model.
    fn shape(
        &mut self,
        sample: &ModelWarmup,
        input: &TensorSpec,
        rows: Option<i64>,
    ) -> Option<Vec<i64>> {
        let of = format!("of '{}' in 'model_warmup' '{}'", input.name, sample.name);
        let Some(given) = sample.inputs.get(&input.name) else {
            let what = format!("'model_warmup' '{}' has no '{}'", sample.name, input.name);
            self.refuse(what, "the model wants all of its inputs", "add it");
            return None;
        };
        let data_type = given.data_type().as_str_name();
        if data_type.trim_start_matches("TYPE_") != input.datatype.name() {
            let what = format!("'data_type' {of} is {data_type}");
            let why = format!("the input has TYPE_{}", input.datatype);
            self.refuse(what, why, "write the same");
            return None;
        }
        let dims = &given.dims;
        let what = format!("'dims' {of} is {dims:?}");
        let shape: Vec<i64> = rows.into_iter().chain(dims.iter().copied()).collect();
        if let Err(mismatch) = input.check(input.datatype, &shape) {
            let fix = "write a size for each of the input's 'dims'";
            self.refuse(what, mismatch.to_string(), fix);
            return None;
        }
        let one = rows.map(|rows| rows.max(1));
        let one: Vec<i64> = one.into_iter().chain(dims.iter().copied()).collect();
        match check_shape(&one) {
            Ok(_) => Some(shape),
            // Triton has no such limit.
            Err(error @ TensorError::Elements { .. }) => {
                let name = &sample.name;
                self.note(format!("'model_warmup' '{name}' is ignored: {error}"));
                None
            }
            Err(error) => {
                self.refuse(what, error.to_string(), "write sizes from 1");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::repository::config_pbtxt::tests::read;

    /// The shapes of each input, and the notes.
    type Warmed = (Vec<Vec<Vec<i64>>>, Vec<String>);

    /// What a model of these dimensions is warmed up with by these samples.
    fn warmed(more: &str, samples: &str) -> Result<Warmed, Vec<String>> {
        let text = r#"
platform: "pytorch_libtorch"
input [ { name: "tokens" data_type: TYPE_INT64 dims: [ -1 ] }, { name: "image" data_type: TYPE_FP32 dims: [ 3, -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"#;
        let described = read(&format!("{text}{more}\n{samples}"))?;
        let inputs = described.spec.inputs.into_iter();
        let notes = described.notes.into_iter();
        // There are other tests of what is said of the order of inputs, and of rows.
        let notes = notes.filter(|it| it.contains("model_warmup"));
        Ok((
            inputs.map(|it| it.warm_up.shapes).collect(),
            notes.collect(),
        ))
    }

    /// A sample of `model_warmup`.
    fn sample(batch_size: u32, tokens: &str, image: &str) -> String {
        let input = |name, data_type, dims, data| {
            format!(
                "inputs {{ key: \"{name}\" value {{ data_type: {data_type} dims: {dims} {data}: true }} }}"
            )
        };
        let tokens = input("tokens", "TYPE_INT64", tokens, "zero_data");
        let image = input("image", "TYPE_FP32", image, "zero_data");
        format!("model_warmup {{ name: \"w\" batch_size: {batch_size} {tokens} {image} }}\n")
    }

    #[test]
    fn samples_of_the_warm_up_are_shapes_of_every_batch_or_of_their_own_rows() {
        let all = [
            sample(1, "[8]", "[3, 224]"),
            sample(4, "[8]", "[3, 224]"),
            sample(8, "[32]", "[3, 8]"),
        ]
        .concat();
        // `lowered`: sizes of batches, and what they are read as.
        let shapes = |more, lowered: &[(u32, u32)]| {
            let (shapes, notes) = warmed(more, &all).unwrap();
            let lowered = lowered.iter().map(|(size, most)| {
                format!(
                    "config.pbtxt: 'batch_size' {size} of 'model_warmup' 'w' is read as {most}, the most rows that there are"
                )
            });
            assert_eq!(notes, lowered.collect::<Vec<_>>());
            shapes
        };
        assert_eq!(
            shapes("max_batch_size: 4 dynamic_batching { }", &[]),
            [
                [vec![-1, 8], vec![-1, 32]],
                [vec![-1, 3, 224], vec![-1, 3, 8]]
            ]
        );
        assert_eq!(
            shapes("max_batch_size: 4", &[(8, 4)]),
            [
                [vec![1, 8], vec![4, 8], vec![4, 32]],
                [vec![1, 3, 224], vec![4, 3, 224], vec![4, 3, 8]]
            ]
        );
        assert_eq!(
            shapes("", &[(4, 1), (8, 1)]),
            [[vec![8], vec![32]], [vec![3, 224], vec![3, 8]]]
        );
    }

    #[test]
    fn what_a_sample_of_the_warm_up_wants_more_is_noted_by_name() {
        let good = sample(1, "[8]", "[3, 4]");
        let zeros = |from: &str, to: &str| good.replacen(from, to, 1);
        for (sample, wanted) in [
            (
                zeros("zero_data", "random_data"),
                "'model_warmup.inputs.random_data' is ignored: the values are zeros",
            ),
            (
                zeros("zero_data: true", "input_data_file: \"raw\""),
                "'model_warmup.inputs.input_data_file' is ignored: the values are zeros",
            ),
            (
                zeros("batch_size: 1", "batch_size: 1 count: 5"),
                "'model_warmup.count' is ignored: each sample is run three times",
            ),
            (
                zeros(
                    "batch_size: 1",
                    "batch_size: 1 inputs { key: \"START\" value { data_type: TYPE_INT32 dims: [1] zero_data: true } }",
                ),
                "'model_warmup' of 'START' is ignored: there is no such input",
            ),
        ] {
            let (shapes, notes) = warmed("", &sample).unwrap();
            assert_eq!(shapes, [[vec![8]], [vec![3, 4]]], "{sample}");
            assert_eq!(notes, [format!("config.pbtxt: {wanted}")]);
        }
        for (sample, wanted) in [
            (
                zeros("batch_size: 1", ""),
                "'model_warmup' 'w' is ignored: its 'batch_size' is 0",
            ),
            (
                sample(1, "[8]", "[3, 9000000]"),
                "'model_warmup' 'w' is ignored: shape [3, 9000000] has more than 16777216 elements",
            ),
        ] {
            let (shapes, notes) = warmed("", &sample).unwrap();
            assert_eq!(shapes, [Vec::<Vec<i64>>::new(), Vec::new()], "{sample}");
            assert_eq!(notes, [format!("config.pbtxt: {wanted}")]);
        }
    }

    #[test]
    fn a_sample_of_the_warm_up_that_does_not_fit_is_refused_by_name() {
        let good = sample(1, "[8]", "[3, 4]");
        let many: Vec<String> = (1..=65)
            .map(|it| sample(1, &format!("[{it}]"), "[3, 4]"))
            .collect();
        for (samples, wanted) in [
            (
                sample(1, "[8]", "[4, 4]"),
                "'dims' of 'image' in 'model_warmup' 'w' is [4, 4]: shape is [4, 4], but the model has [3, -1]",
            ),
            (
                sample(1, "[8, 8]", "[3, 4]"),
                "'dims' of 'tokens' in 'model_warmup' 'w' is [8, 8]: shape is [8, 8], but",
            ),
            (
                sample(1, "[-1]", "[3, 4]"),
                "'dims' of 'tokens' in 'model_warmup' 'w' is [-1]: dimension 0 of the shape is -1, it must be at least 1; write",
            ),
            (
                good.replace("TYPE_INT64", "TYPE_INT32"),
                "'data_type' of 'tokens' in 'model_warmup' 'w' is TYPE_INT32: the input has TYPE_INT64; write",
            ),
            (
                good.replace("\"image\"", "\"other\""),
                "'model_warmup' 'w' has no 'image': the model wants all of its inputs; add",
            ),
            (
                many.concat(),
                "'model_warmup' has 65 different samples: there are at most 64; leave",
            ),
        ] {
            let problems = warmed("", &samples).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:#?}");
            let wanted = format!("fraud/config.pbtxt: {wanted}");
            assert!(
                problems[0].starts_with(&wanted),
                "{}\nwanted: {wanted}",
                problems[0]
            );
        }
    }
}
