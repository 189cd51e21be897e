//! Models that cannot run at size 1, and what they are warmed up with instead.

use std::{fs, path::Path, process::Stdio};

use serde_json::json;
use tch::{CModule, Kind};

use crate::{
    models::{kinds::direct, numbers, repository, trace},
    server::{Server, body, command},
};

/// Classes of an image of any size, but not of less than 7 by 7.
fn classes() -> CModule {
    let (filters, out) = (numbers(1, &[8, 3, 7, 7]), numbers(2, &[8, 4]));
    trace(&[numbers(3, &[1, 3, 9, 9])], |inputs| {
        inputs[0]
            .conv2d(&filters, None::<&tch::Tensor>, [1, 1], [0, 0], [1, 1], 1)
            .relu()
            .mean_dim([2_i64, 3].as_slice(), false, Kind::Float)
            .matmul(&out)
    })
}

/// Its model.yaml, with more said of the image.
fn yaml(more: &str) -> String {
    format!(
        "inputs: [{{name: image, datatype: FP32, shape: [-1, 3, -1, -1]{more}}}]
outputs: [{{name: classes, datatype: FP32, shape: [-1, 4]}}]
maxBatchSize: 4
"
    )
}

/// The same as Triton has it.
const PBTXT: &str = r#"
platform: "pytorch_libtorch"
max_batch_size: 4
input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ]
output [ { name: "classes" data_type: TYPE_FP32 dims: [ 4 ] } ]
dynamic_batching { }
model_warmup [
  { name: "w" batch_size: 1 inputs { key: "image" value { data_type: TYPE_FP32 dims: [ 3, 16, 16 ] zero_data: true } } }
]
"#;

/// Asks for images of two sizes, none of which is that of the warm-up.
async fn check(dir: &Path) {
    let module = CModule::load(dir.join("image/1/model.pt")).unwrap();
    let server = Server::start(dir);
    for shape in [[2, 3, 7, 20], [1, 3, 31, 8]] {
        let image = numbers(5, &shape);
        let values: Vec<f32> = Vec::try_from(image.flatten(0, -1)).unwrap();
        let (status, answer) = server
            .infer("image", body("image", "FP32", &shape, &values))
            .await;
        assert_eq!(status, 200, "{answer}");
        let wanted = &direct(&module, &[("image", image)])[0];
        let wanted: Vec<f32> = Vec::try_from(wanted.flatten(0, -1)).unwrap();
        let output = &answer["outputs"][0];
        assert_eq!(output["shape"], json!([shape[0], 4]));
        let served: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
        assert_eq!(served.len(), wanted.len());
        for (served, wanted) in served.iter().zip(&wanted) {
            assert!((served - wanted).abs() < 1e-5, "{served} and {wanted}");
        }
    }
}

#[tokio::test]
async fn a_model_that_fails_at_size_1_starts_with_the_shapes_of_its_warm_up() {
    let shapes = ", warmUp: {value: 0.5, shapes: [[3, 16, 16], [3, 24, 9]]}";
    let dir = repository("image", &yaml(shapes), &classes());
    check(dir.path()).await;
    // Or with those of Triton's.
    let folder = dir.path().join("image");
    fs::remove_file(folder.join("model.yaml")).unwrap();
    fs::write(folder.join("config.pbtxt"), PBTXT).unwrap();
    check(dir.path()).await;
}

#[test]
fn without_them_it_does_not_start_and_is_told_why() {
    let dir = repository("image", &yaml(""), &classes());
    let output = command(dir.path()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for words in [
        "/image/1/model.pt: failed to warm up: Calculated padded input size per channel: (1 x 1). Kernel size: (7 x 7)",
        " or config.pbtxt, and give its inputs shapes by 'warmUp' ('model_warmup') if it cannot run at size 1 wherever",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}
