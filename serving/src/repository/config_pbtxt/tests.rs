use std::time::Duration;

use super::*;
use crate::{
    device::Device,
    repository::VersionPolicy,
    spec::{CacheSpec, Serving, TensorSpec},
    tensor::Datatype,
};

/// The least that Triton takes.
const LEAST: &str = r#"
platform: "pytorch_libtorch"
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 7 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 1 ] } ]
"#;

pub(super) fn read(text: &str) -> Result<Described, Vec<String>> {
    let found = parse(Path::new("fraud/config.pbtxt"), "fraud", text);
    found.map_err(|all| all.iter().map(ToString::to_string).collect())
}

/// What the least with more is refused for.
#[track_caller]
fn refused(more: &str, wanted: &str) {
    let problems = read(&format!("{LEAST}{more}")).expect_err(more);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let wanted = format!("fraud/config.pbtxt{wanted}");
    assert!(
        problems[0].starts_with(&wanted),
        "{}\nwanted: {wanted}",
        problems[0]
    );
}

/// What the least with more is noted for.
#[track_caller]
fn noted(more: &str, wanted: &[&str]) -> Described {
    let described = read(&format!("{LEAST}{more}")).unwrap();
    let wanted: Vec<String> = wanted
        .iter()
        .map(|it| format!("config.pbtxt: {it}"))
        .collect();
    assert_eq!(described.notes, wanted, "{more}");
    described
}

fn tensor(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec::new(name, datatype, shape.to_vec())
}

#[test]
fn a_model_that_was_batched_by_triton_is_batched_here() {
    let text = r#"
# An image classifier as people have them.
name: "fraud"
platform: "pytorch_libtorch"
max_batch_size: 64
input [
  {
    name: "INPUT__0"
    data_type: TYPE_FP32
    dims: [ 3, 224, -1 ]
  }
]
output [
  {
    name: "OUTPUT__0"
    data_type: TYPE_INT64
    dims: [ 1000 ]
    label_filename: "labels.txt"
  }
]
instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_AUTO } ]
dynamic_batching {
  preferred_batch_size: [ 16, 32 ]
  max_queue_delay_microseconds: 500
  default_queue_policy { max_queue_size: 128 default_timeout_microseconds: 200000 allow_timeout_override: true }
}
version_policy: { specific { versions: [ 1, 3 ] } }
parameters: { key: "DISABLE_OPTIMIZED_EXECUTION" value: { string_value: "true" } }
parameters: { key: "INFERENCE_MODE" value: { string_value: "true" } }
model_warmup [ { name: "w" batch_size: 1 inputs { key: "INPUT__0" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] zero_data: true } } } ]
optimization { graph { level: 1 } }
"#;
    let described = read(text).unwrap();
    let spec = described.spec;
    let mut image = tensor("INPUT__0", Datatype::Fp32, &[-1, 3, 224, -1]);
    image.warm_up.shapes = vec![vec![-1, 3, 224, 224]];
    assert_eq!(spec.inputs, [image]);
    assert_eq!(
        spec.outputs,
        [tensor("OUTPUT__0", Datatype::Int64, &[-1, 1000])]
    );
    let serving = Serving {
        max_batch_size: Some(64),
        max_queue_delay: Duration::from_micros(500),
        queue_size: Some(128),
        timeout: Some(Duration::from_millis(200)),
        instances: vec![Device::Cpu; 3],
        ..Serving::default()
    };
    assert_eq!(spec.serving, serving);
    assert_eq!(described.versions, VersionPolicy::Specific(vec![1, 3]));
    let mut notes = described.notes;
    notes.sort();
    assert_eq!(
        notes,
        [
            "config.pbtxt: 'default_timeout_microseconds' counts waiting and computing together",
            "config.pbtxt: 'dynamic_batching.preferred_batch_size' is ignored: an idle instance takes what waits",
            "config.pbtxt: 'instance_group' of KIND_AUTO runs on the CPU: name GPUs by 'gpus', or write KIND_CPU",
            "config.pbtxt: 'optimization' is ignored: it is not supported",
            "config.pbtxt: 'output.label_filename' is ignored: answers are tensors",
            "config.pbtxt: 'parameters' (DISABLE_OPTIMIZED_EXECUTION, INFERENCE_MODE) is ignored: it is not supported",
        ]
    );
}

#[test]
fn what_is_not_said_is_as_in_triton() {
    let described = noted("", &[]);
    assert_eq!(described.spec.serving, Serving::default());
    assert_eq!(
        described.spec.inputs,
        [tensor("INPUT__0", Datatype::Fp32, &[7])]
    );
    assert_eq!(described.versions, VersionPolicy::Latest(1));
    for (more, versions) in [
        ("version_policy: { all { } }", VersionPolicy::All),
        (
            "version_policy { latest { num_versions: 2 } }",
            VersionPolicy::Latest(2),
        ),
    ] {
        assert_eq!(noted(more, &[]).versions, versions);
    }
}

#[test]
fn numbered_names_are_in_the_order_of_forward() {
    let input =
        |name: &str| format!("input {{ name: \"{name}\" data_type: TYPE_INT32 dims: -1 }}\n");
    let output = "backend: \"pytorch\" output: { name: \"y\", data_type: TYPE_BOOL, dims: [1] };";
    let names = |inputs: &[&str]| {
        let inputs: String = inputs.iter().map(|it| input(it)).collect();
        read(&format!("{inputs}{output}")).map(|found| {
            let names = found.spec.inputs.into_iter().map(|it| it.name);
            (names.collect::<Vec<_>>(), found.notes.len())
        })
    };
    let (found, notes) = names(&["mask__1", "tokens__0"]).unwrap();
    assert_eq!(
        (found, notes),
        (vec!["tokens__0".to_owned(), "mask__1".to_owned()], 0)
    );
    let (found, notes) = names(&["mask", "tokens"]).unwrap();
    assert_eq!(
        (found, notes),
        (vec!["mask".to_owned(), "tokens".to_owned()], 1)
    );
    for (wrong, why) in [
        (
            ["a__0", "b"],
            "some inputs are numbered with '__', and others are not: ",
        ),
        (["a__0", "b__2"], "the numbers of the inputs are [0, 2]: "),
        (["a__1", "b__1"], "the numbers of the inputs are [1, 1]: "),
        (["a", "a"], "input 'a' is declared twice: "),
    ] {
        let problems = names(&wrong).unwrap_err();
        assert!(problems[0].contains(why), "{problems:?}");
    }
}

#[test]
fn what_would_be_another_model_is_refused_by_name() {
    for (more, wanted) in [
        (
            "sequence_batching { max_sequence_idle_microseconds: 5 }",
            ": 'sequence_batching' is not supported: the state",
        ),
        (
            "ensemble_scheduling { step { model_name: \"a\" model_version: -1 } }",
            ": 'ensemble_scheduling' is not supported: ",
        ),
        (
            "model_transaction_policy { decoupled: True }",
            ": 'model_transaction_policy.decoupled' is not supported: ",
        ),
        (
            "batch_input { kind: BATCH_ELEMENT_COUNT }",
            ": 'batch_input' is not supported: ",
        ),
        (
            "cc_model_filenames { key: \"7.5\" value: \"a.pt\" }",
            ": 'cc_model_filenames' is not supported: ",
        ),
        (
            "model_repository_agents { agents { name: \"checksum\" } }",
            ": 'model_repository_agents' is not supported: ",
        ),
        ("runtime: \"model.py\"", ": 'runtime' is not supported: "),
        (
            "default_model_filename: \"net.pt\"",
            ": 'default_model_filename' is 'net.pt': a version is its model.pt; ",
        ),
        (
            "name: \"other\"",
            ": 'name' is 'other': the model is that of the folder 'fraud'; ",
        ),
        (
            "max_batch_size: -1",
            ": 'max_batch_size' is -1: it is 0 to 4096; ",
        ),
        ("max_batch_size: 5000", ": 'max_batch_size' is 5000: "),
        (
            "instance_group { count: 65 }",
            ": 'instance_group' has 65 instances: ",
        ),
        (
            "version_policy { specific { versions: [ 0 ] } }",
            ": 'versions' is [0]: ",
        ),
        (
            "version_policy { latest { } }",
            ": 'num_versions' is 0: it is 1 to 1000; ",
        ),
        (
            "dynamic_batching { max_queue_delay_microseconds: 11000000 }\nmax_batch_size: 2",
            ": 'max_queue_delay_microseconds' is 11000000: it is at most 10000000; ",
        ),
        (
            "max_bach_size: 3",
            ":5: not a valid config.pbtxt: field 'max_bach_size' not found",
        ),
        (
            "input {",
            ": not a valid config.pbtxt: expected '}' or a field name, but reached end",
        ),
        (
            "name: \"fraud\" name: \"fraud\"",
            ":5: not a valid config.pbtxt: 'name' is already set",
        ),
        (
            "dynamic_batching { } sequence_batching { }",
            ":5: not a valid config.pbtxt: a value is already set for oneof",
        ),
    ] {
        refused(more, wanted);
    }
    for (from, to, wanted) in [
        (
            "TYPE_FP32",
            "TYPE_STRING",
            ": 'data_type' of input 'INPUT__0' is TYPE_STRING: ",
        ),
        (
            "TYPE_FP32",
            "TYPE_UINT16",
            ": 'data_type' of input 'INPUT__0' is TYPE_UINT16: ",
        ),
        (
            "data_type: TYPE_FP32",
            "",
            ": 'data_type' of input 'INPUT__0' is TYPE_INVALID: it is not said; ",
        ),
        (
            "TYPE_FP32",
            "TYPE_FLOAT",
            ":3: not a valid config.pbtxt: value 'TYPE_FLOAT' was not found for enum",
        ),
        (
            "dims: [ 7 ]",
            "dims: [ 0 ]",
            ": 'dims' of input 'INPUT__0' is [0]: ",
        ),
        ("dims: [ 7 ]", "", ": 'dims' of input 'INPUT__0' is empty: "),
        (
            "dims: [ 7 ]",
            "dims: [ 7 ] reshape { shape: [ 7, 1 ] }",
            ": 'input.reshape' is not supported: ",
        ),
        (
            "dims: [ 7 ]",
            "dims: [ 7 ] optional: true",
            ": 'input.optional' is not supported: ",
        ),
        (
            "pytorch_libtorch",
            "onnxruntime_onnx",
            ": platform 'onnxruntime_onnx', backend '': only TorchScript",
        ),
        (
            "platform: \"pytorch_libtorch\"",
            "",
            ": no platform and no backend: ",
        ),
    ] {
        let problems = read(&LEAST.replacen(from, to, 1)).unwrap_err();
        let wanted = format!("fraud/config.pbtxt{wanted}");
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].starts_with(&wanted),
            "{}\nwanted: {wanted}",
            problems[0]
        );
    }
    let problems = read("backend: \"pytorch\"").unwrap_err();
    assert_eq!(problems.len(), 2, "inputs and outputs: {problems:?}");
}

#[test]
fn answers_are_given_again_only_if_that_is_said() {
    let cache = |more| noted(more, &[]).spec.serving.cache;
    let spec = CacheSpec {
        size: 64 << 20,
        ttl: None,
    };
    assert_eq!(cache("response_cache { enable: true }"), Some(spec));
    assert_eq!(cache("response_cache { enable: false }"), None);
    assert_eq!(cache(""), None);
}

#[test]
fn what_changes_no_answer_is_noted_by_name() {
    for (more, wanted) in [
        ("instance_group { kind: KIND_GPU gpus: [ 0, 1 ] }", &[][..]),
        (
            "instance_group { kind: KIND_GPU }",
            &["'instance_group' of KIND_GPU runs on cuda:0: name others by 'gpus'"],
        ),
        (
            "instance_group { count: 2 }",
            &[
                "'instance_group' of KIND_AUTO runs on the CPU: name GPUs by 'gpus', or write KIND_CPU",
            ],
        ),
        ("instance_group { kind: KIND_AUTO gpus: [ 1 ] }", &[]),
        ("instance_group { kind: KIND_CPU }", &[]),
        (
            "max_batch_size: 8 dynamic_batching { default_queue_policy { default_timeout_microseconds: 5 } }",
            &[
                "'default_timeout_microseconds' counts waiting and computing together",
                "requests may want less than 'default_timeout_microseconds', also without 'allow_timeout_override'",
            ],
        ),
        (
            "max_batch_size: 8 dynamic_batching { default_queue_policy { default_timeout_microseconds: 5 \
             allow_timeout_override: true max_queue_size: 0 } }",
            &["'default_timeout_microseconds' counts waiting and computing together"],
        ),
        ("response_cache { }", &[]),
        ("model_transaction_policy { decoupled: false }", &[]),
        (
            "metric_tags { key: \"team\" value: \"risk\" }",
            &["'metric_tags' (team) is ignored: it is not supported"],
        ),
        (
            "dynamic_batching { }",
            &["'dynamic_batching' joins no requests, because 'max_batch_size' is 0"],
        ),
        (
            "max_batch_size: 8",
            &[
                "without 'dynamic_batching' each request runs alone; that it has 8 rows at the most is not checked",
            ],
        ),
        (
            "max_batch_size: 8 dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true \
             default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 } priority_queue_policy { key: 1 value { } } }",
            &[
                "'dynamic_batching.preserve_ordering' is ignored: answers are given as soon as they are there",
                "'dynamic_batching.priority_levels' is ignored: any number is a priority, 1 the most urgent",
                "'dynamic_batching.default_priority_level' is ignored: requests without a priority have 100",
                "'dynamic_batching.priority_queue_policy' (1) is ignored: it is not supported",
                "'default_timeout_microseconds' is ignored: with 'timeout_action: DELAY' it refuses nothing",
            ],
        ),
    ] {
        noted(more, wanted);
    }
}

#[test]
fn without_dynamic_batching_rows_are_the_models_affair() {
    let described = read(&format!("{LEAST}max_batch_size: 8")).unwrap();
    assert_eq!(described.spec.serving.max_batch_size, None);
    assert_eq!(described.spec.inputs[0].shape, [-1, 7]);
}
