//! One request in each of the ways that it may travel, and its answer bit for bit.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use serin_serving::{
    grpc::proto::{ModelInferRequest, ModelInferResponse, model_infer_request::InferInputTensor},
    tensor::{Datatype, Tensor},
};
use tch::Kind;
use tonic::{
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::server::{DEADLINE, Server};

const LENGTH: &str = "inference-header-content-length";

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Json,
    /// Tensors behind the JSON, in both directions.
    Binary,
    /// The same packed, in both directions.
    Packed,
    Grpc,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Json, Self::Binary, Self::Packed, Self::Grpc];
}

/// A client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Caller {
    http: Client,
    url: String,
    grpc: Channel,
}

/// Tensors by their names.
pub(crate) type Named = Vec<(String, Tensor)>;

impl Caller {
    pub(crate) fn of(server: &Server) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
        Self {
            http: server.client.clone(),
            url: server.url.clone(),
            grpc: endpoint.timeout(DEADLINE).connect_lazy(),
        }
    }

    /// The outputs in their order, or the refusal in words.
    pub(crate) async fn ask(
        &self,
        way: Way,
        model: &str,
        inputs: &[(&str, Tensor)],
    ) -> Result<Named, String> {
        match way {
            Way::Json => self.json(model, inputs).await,
            Way::Binary => self.binary(model, inputs, false).await,
            Way::Packed => self.binary(model, inputs, true).await,
            Way::Grpc => self.grpc(model, inputs).await,
        }
    }

    /// Posts a body as it is: the headers and body of the answer, or the status and what it says.
    pub(crate) async fn post(
        &self,
        model: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<(header::HeaderMap, Vec<u8>), String> {
        let url = format!("{}/v2/models/{model}/infer", self.url);
        let mut request = self.http.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        let body = match headers.get(header::CONTENT_ENCODING) {
            None => body.to_vec(),
            Some(_) => {
                let mut plain = Vec::new();
                GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                plain
            }
        };
        if status == StatusCode::OK {
            Ok((headers, body))
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
        }
    }

    async fn json(&self, model: &str, inputs: &[(&str, Tensor)]) -> Result<Named, String> {
        let inputs = inputs.iter().map(|(name, tensor)| {
            json!({
                "name": name, "datatype": tensor.datatype().name(), "shape": tensor.shape(), "data": values(tensor),
            })
        });
        let body = json!({ "inputs": inputs.collect::<Vec<_>>() }).to_string();
        let (_, answer) = self.post(model, &[], body.into_bytes()).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let outputs = answer["outputs"].as_array().unwrap().iter();
        Ok(outputs
            .map(|it| described(it, |datatype, _| bytes(datatype, &it["data"])))
            .collect())
    }

    async fn binary(
        &self,
        model: &str,
        inputs: &[(&str, Tensor)],
        packed: bool,
    ) -> Result<Named, String> {
        let declared = inputs.iter().map(|(name, tensor)| {
            json!({
                "name": name, "datatype": tensor.datatype().name(), "shape": tensor.shape(),
                "parameters": { "binary_data_size": tensor.bytes().len() },
            })
        });
        let json = json!({
            "inputs": declared.collect::<Vec<_>>(), "parameters": { "binary_data_output": true },
        });
        let mut body = json.to_string().into_bytes();
        let mut headers = vec![(LENGTH, body.len().to_string())];
        for (_, tensor) in inputs {
            body.extend_from_slice(tensor.bytes());
        }
        if packed {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&body).unwrap();
            body = gzip.finish().unwrap();
            headers.push(("content-encoding", "gzip".to_owned()));
            headers.push(("accept-encoding", "gzip".to_owned()));
        }
        let (headers, answer) = self.post(model, &headers, body).await?;
        let length = headers[LENGTH].to_str().unwrap().parse().unwrap();
        let (json, mut data) = answer.split_at(length);
        let json: Value = serde_json::from_slice(json).unwrap();
        let outputs = json["outputs"].as_array().unwrap().iter();
        let outputs = outputs.map(|it| {
            described(it, |_, _| {
                let size = it["parameters"]["binary_data_size"].as_u64().unwrap();
                let (part, rest) = data.split_at(size as usize);
                data = rest;
                part.to_vec()
            })
        });
        Ok(outputs.collect())
    }

    async fn grpc(&self, model: &str, inputs: &[(&str, Tensor)]) -> Result<Named, String> {
        let request = message(model, inputs);
        let answer = self
            .send(request)
            .await
            .map_err(|status| status.to_string())?;
        let raw = answer.raw_output_contents.into_iter();
        let outputs = answer.outputs.into_iter().zip(raw);
        Ok(outputs
            .map(|(it, raw)| {
                let datatype = it.datatype.parse().unwrap();
                (
                    it.name,
                    Tensor::new(datatype, it.shape, raw.to_vec()).unwrap(),
                )
            })
            .collect())
    }

    /// Sends a message of gRPC, whatever it says.
    pub(crate) async fn send(
        &self,
        request: ModelInferRequest,
    ) -> Result<ModelInferResponse, tonic::Status> {
        const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
        let mut client = Grpc::new(self.grpc.clone());
        let ready = client.ready().await;
        ready.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::default();
        let request = tonic::Request::new(request);
        let answer = client.unary(request, PathAndQuery::from_static(INFER), codec);
        Ok(answer.await?.into_inner())
    }
}

/// The request as a message, its tensors binary.
pub(crate) fn message(model: &str, inputs: &[(&str, Tensor)]) -> ModelInferRequest {
    let declared = inputs.iter().map(|(name, tensor)| InferInputTensor {
        name: (*name).to_owned(),
        datatype: tensor.datatype().name().to_owned(),
        shape: tensor.shape().to_vec(),
        ..Default::default()
    });
    let raw = inputs.iter().map(|(_, it)| it.bytes().to_vec().into());
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: declared.collect(),
        raw_input_contents: raw.collect(),
        ..Default::default()
    }
}

/// A tensor of libtorch as it travels.
pub(crate) fn plain(tensor: &tch::Tensor) -> Tensor {
    let datatype = match tensor.kind() {
        Kind::Float => Datatype::Fp32,
        Kind::Int64 => Datatype::Int64,
        Kind::Bool => Datatype::Bool,
        other => panic!("{other:?}"),
    };
    let mut bytes = vec![0; tensor.numel() * datatype.size()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    Tensor::new(datatype, tensor.size(), bytes).unwrap()
}

fn described(output: &Value, data: impl FnOnce(Datatype, &[i64]) -> Vec<u8>) -> (String, Tensor) {
    let datatype: Datatype = output["datatype"].as_str().unwrap().parse().unwrap();
    let shape: Vec<i64> = serde_json::from_value(output["shape"].clone()).unwrap();
    let bytes = data(datatype, &shape);
    let name = output["name"].as_str().unwrap().to_owned();
    (name, Tensor::new(datatype, shape, bytes).unwrap())
}

/// The values as numbers of JSON.
fn values(tensor: &Tensor) -> Value {
    let bytes = tensor.bytes();
    match tensor.datatype() {
        Datatype::Fp32 => json!(floats(tensor)),
        Datatype::Int64 => {
            let values = bytes.as_chunks().0.iter().map(|it| i64::from_le_bytes(*it));
            json!(values.collect::<Vec<_>>())
        }
        Datatype::Bool => json!(bytes.iter().map(|it| *it == 1).collect::<Vec<_>>()),
        other => panic!("{other}"),
    }
}

pub(crate) fn floats(tensor: &Tensor) -> Vec<f32> {
    let values = tensor.bytes().as_chunks().0.iter();
    values.map(|it| f32::from_le_bytes(*it)).collect()
}

/// What [`values`] was made of.
fn bytes(datatype: Datatype, values: &Value) -> Vec<u8> {
    fn all<T: serde::de::DeserializeOwned>(values: &Value) -> Vec<T> {
        serde_json::from_value(values.clone()).unwrap()
    }
    match datatype {
        Datatype::Fp32 => all(values).into_iter().flat_map(f32::to_le_bytes).collect(),
        Datatype::Int64 => all(values).into_iter().flat_map(i64::to_le_bytes).collect(),
        Datatype::Bool => all::<bool>(values).into_iter().map(u8::from).collect(),
        other => panic!("{other}"),
    }
}
