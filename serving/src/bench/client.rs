//! Clients of the server that is measured: each sends a request, reads the answer, and sends the next.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use super::BenchError;
use crate::{http::JSON_LENGTH, repository::Entry, tensor::TensorError};

/// One request for a model: a row of what it is warmed up with first, as binary data.
#[derive(Debug, Clone)]
pub(super) struct Client {
    path: String,
    json_length: usize,
    body: Bytes,
}

impl Client {
    pub(super) fn new(entry: &Entry) -> Result<Self, TensorError> {
        let (mut inputs, mut data) = (Vec::new(), Vec::new());
        for input in &entry.spec.inputs {
            let values = input.sample(1)?;
            inputs.push(json!({
                "name": input.name,
                "datatype": input.datatype.name(),
                "shape": values.shape(),
                "parameters": {"binary_data_size": values.bytes().len()},
            }));
            data.extend_from_slice(values.bytes());
        }
        let head = json!({"inputs": inputs, "parameters": {"binary_data_output": true}});
        let mut body = head.to_string().into_bytes();
        let json_length = body.len();
        body.extend(data);
        let Entry { model, version, .. } = entry;
        Ok(Self {
            path: format!("/v2/models/{model}/versions/{version}/infer"),
            json_length,
            body: body.into(),
        })
    }

    /// Times of requests over so many connections.
    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        connections: usize,
        time: Duration,
    ) -> Result<Vec<Duration>, BenchError> {
        let end = Instant::now() + time;
        let all = (0..connections).map(|_| self.connection(server, end));
        Ok(try_join_all(all).await?.concat())
    }

    async fn connection(
        &self,
        server: SocketAddr,
        end: Instant,
    ) -> Result<Vec<Duration>, BenchError> {
        let failed = |error: &dyn std::error::Error| BenchError::Client(error.to_string());
        let stream = TcpStream::connect(server).await.map_err(|it| failed(&it))?;
        stream.set_nodelay(true).map_err(|it| failed(&it))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|it| failed(&it))?;
        let connection = tokio::spawn(connection);
        let mut times = Vec::new();
        while Instant::now() < end {
            sender.ready().await.map_err(|it| failed(&it))?;
            let begun = Instant::now();
            let request = Request::post(&self.path)
                .header(header::HOST, server.to_string())
                .header(JSON_LENGTH, self.json_length)
                .body(Full::new(self.body.clone()))
                .map_err(|it| failed(&it))?;
            let response = sender
                .send_request(request)
                .await
                .map_err(|it| failed(&it))?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|it| failed(&it))?
                .to_bytes();
            if !status.is_success() {
                let text = String::from_utf8_lossy(&body);
                return Err(BenchError::Client(format!("{status}: {text}")));
            }
            times.push(begun.elapsed());
        }
        drop(sender);
        connection.abort();
        Ok(times)
    }
}
