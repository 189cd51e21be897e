//! Input: what describes a model, `model.yaml` or `config.pbtxt`.

use std::path::Path;

use serin_serving::{
    repository::{Problem, config_pbtxt, description::Described, model_yaml},
    spec::MAX_TENSORS,
};

/// `model.yaml`.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    check(&model_yaml::parse(Path::new("model.yaml"), text), text);
}

/// `config.pbtxt` of the model `fraud`.
pub fn pbtxt(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = config_pbtxt::parse(Path::new("config.pbtxt"), "fraud", text);
    check(&read, text);
}

fn check(read: &Result<Described, Vec<Problem>>, text: &str) {
    match read {
        Ok(described) => {
            let spec = &described.spec;
            for tensors in [&spec.inputs, &spec.outputs] {
                assert!((1..=MAX_TENSORS).contains(&tensors.len()));
                for tensor in tensors {
                    assert!(!tensor.name.is_empty());
                    let sample = tensor
                        .sample(1)
                        .unwrap_or_else(|error| panic!("{error}: {tensor:?}"));
                    assert_eq!(tensor.check_values(&sample), Ok(()), "{tensor:?}");
                }
            }
            assert!(spec.samples().any(|it| it == spec.largest_sample()));
            let serving = &spec.serving;
            assert!(!serving.instances.is_empty());
            assert!(serving.max_batch_size != Some(0));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            // A carriage return alone ends a line of YAML, too.
            let lines = text.split(['\n', '\r']).count() as u64;
            for problem in problems {
                assert!(!problem.to_string().is_empty());
                assert!(
                    problem.line.is_none_or(|it| (1..=lines).contains(&it)),
                    "{problem} in {lines} lines"
                );
            }
        }
    }
}
