//! What libtorch computes is what clients get.

use serde_json::{Value, json};
use tch::{CModule, Device, Kind, Tensor};

use crate::{
    models::{
        FEATURES, ROWS, add, embedding, embedding_yaml, numbers, repository, scorer, scorer_yaml,
        trace, yaml,
    },
    server::{Server, body},
};

fn features(rows: i64) -> Tensor {
    numbers(rows, &[rows, FEATURES])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn served(answer: &Value) -> Vec<f32> {
    serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap()
}

#[tokio::test]
async fn the_served_output_is_the_direct_forward_bit_for_bit() {
    let module = scorer(7);
    let dir = repository("fraud", &scorer_yaml(), &module);
    let direct = CModule::load(dir.path().join("fraud/1/model.pt")).unwrap();
    let server = Server::start(dir.path());
    for rows in [1, 2, 33] {
        let features = features(rows);
        let wanted = tch::no_grad(|| direct.forward_ts(&[&features])).unwrap();
        let request = body("features", "FP32", &[rows, FEATURES], &values(&features));
        let (status, answer) = server.infer("fraud", request).await;
        assert_eq!(
            (status, &answer["outputs"][0]["shape"]),
            (200, &json!([rows, 1]))
        );
        assert_eq!(
            bits(&served(&answer)),
            bits(&values(&wanted)),
            "{rows} rows"
        );
    }
}

#[tokio::test]
async fn the_highest_version_is_the_default_and_each_is_served() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    add(dir.path(), "fraud", 10, &scorer_yaml(), &scorer(10));
    let server = Server::start(dir.path());
    let features = features(3);
    let request = body("features", "FP32", &[3, FEATURES], &values(&features));
    for (path, version, seed) in [
        ("fraud", "10", 10),
        ("fraud/versions/1", "1", 1),
        ("fraud/versions/10", "10", 10),
    ] {
        let (_, answer) = server.infer(path, request.clone()).await;
        assert_eq!(answer["model_version"], version, "{path}");
        let wanted = tch::no_grad(|| scorer(seed).forward_ts(&[&features])).unwrap();
        assert_eq!(bits(&served(&answer)), bits(&values(&wanted)), "{path}");
    }
}

#[tokio::test]
async fn an_index_out_of_range_is_500_without_source_and_the_model_goes_on() {
    let dir = repository("words", &embedding_yaml(), &embedding());
    let server = Server::start(dir.path());
    for _ in 0..5 {
        let (status, answer) = server
            .infer("words", body("tokens", "INT64", &[2], &[0, ROWS]))
            .await;
        let sentence = "model 'words' version 1 failed: index out of range in self";
        assert_eq!((status, answer), (500, json!({ "error": sentence })));
        let (status, answer) = server
            .infer("words", body("tokens", "INT64", &[2], &[0, ROWS - 1]))
            .await;
        assert_eq!(
            (status, served(&answer)),
            (200, vec![0.0, 1.0, 2.0, 3.0, 60.0, 61.0, 62.0, 63.0])
        );
    }
    let ready = server
        .client
        .get(format!("{}/v2/health/ready", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn an_index_out_of_a_range_that_is_declared_is_400_and_the_model_is_not_asked() {
    let ranged = embedding_yaml().replace("shape: [-1]}", "shape: [-1], range: [0, 15]}");
    let dir = repository("words", &ranged, &embedding());
    let server = Server::start(dir.path());
    let refused = |value: i64| {
        let sentence = format!(
            "input 'tokens' is refused: value 1 of data ({value}) is out of the range that the model takes, 0 to 15"
        );
        (400, json!({ "error": sentence }))
    };
    for value in [ROWS, -1] {
        let answer = server.infer("words", body("tokens", "INT64", &[2], &[0, value]));
        assert_eq!(answer.await, refused(value));
    }
    let raw = |tokens: [i64; 2]| {
        let url = format!("{}/v2/models/words/infer", server.url);
        let request = server.client.post(url);
        request
            .header("inference-header-content-length", 0)
            .body(tokens.map(i64::to_le_bytes).concat())
            .send()
    };
    let answer = raw([0, ROWS]).await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!((status, answer.json().await.unwrap()), refused(ROWS));
    let metrics = async || {
        let url = format!("{}/metrics", server.url);
        let answer = server.client.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let found = metrics().await;
    let three = r#"serin_serve_requests_total{model="words",outcome="refused",version="1"} 3"#;
    assert!(found.contains(three), "{found}");
    let asked = |found: &str, times: u64| {
        let none = r#"serin_serve_forwards_total{model="words",version="1"} "#;
        let line = found.lines().find_map(|line| line.strip_prefix(none));
        line == Some(&times.to_string())
    };
    assert!(asked(&found, 0), "{found}");
    for value in [0, ROWS - 1] {
        let (status, answer) = server
            .infer("words", body("tokens", "INT64", &[2], &[0, value]))
            .await;
        assert_eq!((status, served(&answer).len()), (200, 8));
    }
    assert_eq!(raw([0, ROWS - 1]).await.unwrap().status(), 200);
    let found = metrics().await;
    assert!(asked(&found, 3) && found.contains(three), "{found}");
}

#[tokio::test]
async fn inputs_reach_forward_in_the_order_of_model_yaml() {
    let one = || Tensor::zeros([1], (Kind::Float, Device::Cpu));
    let difference = trace(&[one(), one()], |inputs| &inputs[0] - &inputs[1]);
    let inputs = "{name: z, datatype: FP32, shape: [-1]}, {name: a, datatype: FP32, shape: [-1]}";
    let dir = repository("difference", &yaml(inputs, "[-1]"), &difference);
    let server = Server::start(dir.path());
    let input =
        |name, value| json!({ "name": name, "datatype": "FP32", "shape": [1], "data": [value] });
    for inputs in [
        [input("a", 1.0), input("z", 8.0)],
        [input("z", 8.0), input("a", 1.0)],
    ] {
        let (_, answer) = server
            .infer("difference", json!({ "inputs": inputs }).to_string())
            .await;
        assert_eq!(served(&answer), [7.0]);
    }
}

#[tokio::test]
async fn every_datatype_survives_the_way_through_libtorch() {
    let table = [
        ("FP32", Kind::Float, json!([0.1, -3.4028235e38])),
        ("FP64", Kind::Double, json!([0.1, 1e-300])),
        ("INT8", Kind::Int8, json!([-128, 127])),
        ("INT16", Kind::Int16, json!([-32_768, 32_767])),
        ("INT32", Kind::Int, json!([i32::MIN, i32::MAX])),
        ("INT64", Kind::Int64, json!([i64::MIN, i64::MAX])),
        ("UINT8", Kind::Uint8, json!([0, 255])),
        ("BOOL", Kind::Bool, json!([true, false])),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (datatype, kind, _) in &table {
        let flip = trace(&[Tensor::zeros([2], (*kind, Device::Cpu))], |inputs| {
            inputs[0].flip([0])
        });
        let yaml = format!(
            "inputs: [{{name: x, datatype: {datatype}, shape: [2]}}]\noutputs: [{{name: y, datatype: {datatype}, shape: [2]}}]\n"
        );
        add(dir.path(), datatype, 1, &yaml, &flip);
    }
    let server = Server::start(dir.path());
    for (datatype, _, data) in &table {
        let (status, answer) = server
            .infer(datatype, body("x", datatype, &[2], data))
            .await;
        assert_eq!(status, 200, "{answer}");
        let output = &answer["outputs"][0];
        assert_eq!(
            (&output["datatype"], &output["data"]),
            (&json!(datatype), &json!([data[1], data[0]])),
            "{answer}"
        );
    }
}

/// `JSON` and binary data as one body, and the length of the JSON.
async fn infer_binary(
    server: &Server,
    model: &str,
    datatype: &str,
    data: &[u8],
) -> (Value, Vec<u8>) {
    const LENGTH: &str = "inference-header-content-length";
    let input = json!({ "name": "x", "datatype": datatype, "shape": [2], "parameters": { "binary_data_size": data.len() } });
    let json =
        json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string();
    let body = [json.as_bytes(), data].concat();
    let request = server
        .client
        .post(format!("{}/v2/models/{model}/infer", server.url))
        .header(LENGTH, json.len())
        .body(body);
    let answer = request.send().await.unwrap();
    let length: usize = answer.headers()[LENGTH].to_str().unwrap().parse().unwrap();
    let body = answer.bytes().await.unwrap();
    (
        serde_json::from_slice(&body[..length]).unwrap(),
        body[length..].to_vec(),
    )
}

#[tokio::test]
async fn half_precision_survives_the_way_through_libtorch_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [("FP16", Kind::Half), ("BF16", Kind::BFloat16)];
    for (datatype, kind) in kinds {
        let flip = trace(&[Tensor::zeros([2], (kind, Device::Cpu))], |inputs| {
            inputs[0].flip([0])
        });
        let yaml = format!(
            "inputs: [{{name: x, datatype: {datatype}, shape: [2]}}]\noutputs: [{{name: y, datatype: {datatype}, shape: [2]}}]\n"
        );
        add(dir.path(), datatype, 1, &yaml, &flip);
    }
    let server = Server::start(dir.path());
    for (datatype, _) in kinds {
        // The second number is a NaN with a payload.
        let (json, data) =
            infer_binary(&server, datatype, datatype, &[0x34, 0x12, 0xcd, 0x7f]).await;
        assert_eq!(json["outputs"][0]["datatype"], datatype);
        assert_eq!(data, [0xcd, 0x7f, 0x34, 0x12]);
        let (status, answer) = server
            .infer(datatype, body("x", datatype, &[2], &[1, 2]))
            .await;
        let sentence = answer["error"].as_str().unwrap();
        assert_eq!(status, 400, "{sentence}");
        assert!(
            sentence.contains("has no JSON form: send it as binary data"),
            "{sentence}"
        );
    }
}
