//! The port where models are loaded and unloaded: of the inference service, the calls of the repository alone.

use axum::{extract::Request, middleware::Next, response::Response};
use tonic::Status;

use super::admission;

/// What is answered there.
const CALLS: [&str; 3] = [
    "/inference.GRPCInferenceService/RepositoryIndex",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
];

/// Lets nothing else in, and cuts off messages that take too long.
pub(super) async fn only(mut request: Request, next: Next) -> Response {
    if !CALLS.contains(&request.uri().path()) {
        let sentence = "nothing but RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload is answered on this \
                        port: ask the server's port of gRPC";
        return Status::unimplemented(sentence).into_http();
    }
    admission::pack(request.headers_mut());
    // Not as small as those of other ports: who sends a model along is to hear why that is refused.
    next.run(request.map(admission::in_time)).await
}
