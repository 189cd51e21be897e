//! The clients that people use, unmodified: tritonclient and KServe's SDK, in Python, each against the program.

use std::{path::Path, process::Command};

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use crate::{
    models::{add, trace},
    server::{DEADLINE, Server},
};

/// Datatypes that have a model of their name, which answers its values reversed.
const KINDS: [(&str, Kind); 10] = [
    ("FP32", Kind::Float),
    ("FP64", Kind::Double),
    ("INT8", Kind::Int8),
    ("INT16", Kind::Int16),
    ("INT32", Kind::Int),
    ("INT64", Kind::Int64),
    ("UINT8", Kind::Uint8),
    ("BOOL", Kind::Bool),
    ("FP16", Kind::Half),
    ("BF16", Kind::BFloat16),
];

fn repository() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let yaml = |inputs: &[&str], datatype: &str| {
        let tensor = |name: &str| format!("{{name: {name}, datatype: {datatype}, shape: [-1]}}");
        let inputs: Vec<String> = inputs.iter().map(|name| tensor(name)).collect();
        format!(
            "inputs: [{}]\noutputs: [{}]\n",
            inputs.join(", "),
            tensor("y")
        )
    };
    for (datatype, kind) in KINDS {
        let flip = trace(&[Tensor::zeros([2], (kind, Device::Cpu))], |inputs| {
            inputs[0].flip([0])
        });
        add(dir.path(), datatype, 1, &yaml(&["x"], datatype), &flip);
    }
    let one = || Tensor::zeros([1], (Kind::Float, Device::Cpu));
    let difference = trace(&[one(), one()], |inputs| &inputs[0] - &inputs[1]);
    add(
        dir.path(),
        "difference",
        1,
        &yaml(&["z", "a"], "FP32"),
        &difference,
    );
    dir
}

/// Runs a script of `clients/`, which ends well if all that it asserts is so.
fn check(script: &str) {
    check_with(script, &[]);
}

/// The same with more arguments of the program.
fn check_with(script: &str, arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let clients = root.join(".deps/clients");
    assert!(
        clients.exists(),
        "the Python clients are not in .deps: run 'tests/setup/setup.sh clients'"
    );
    let dir = repository();
    let server = Server::start_with(dir.path(), arguments);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients");
    let output = Command::new("timeout")
        .arg(DEADLINE.as_secs().to_string())
        // No packages of the user's, no bytecode in the checkout.
        .args(["python3", "-s", "-B", "-W", "error::RuntimeWarning"])
        .env("PYTHONPATH", clients)
        .arg(path.join(script))
        .arg(server.url.trim_start_matches("http://"))
        .arg(&server.grpc)
        .args(&server.repository_api)
        .args(&server.repository_grpc)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn tritonclient_over_http_works_unmodified() {
    check("triton_http.py");
}

#[test]
fn tritonclient_over_http_with_asyncio_works_unmodified() {
    check("triton_http_aio.py");
}

#[test]
fn tritonclient_over_grpc_works_unmodified() {
    check("triton_grpc.py");
}

#[test]
fn tritonclient_over_grpc_with_asyncio_works_unmodified() {
    check("triton_grpc_aio.py");
}

#[test]
fn tritonclient_loads_and_unloads_unmodified() {
    let ports = ["--repository-api", "--repository-grpc"];
    let arguments = ports.map(|flag| [flag, "127.0.0.1:0"]).concat();
    check_with("triton_repository.py", &arguments);
}

#[test]
fn the_sdk_of_kserve_works_unmodified() {
    check("kserve_sdk.py");
}
