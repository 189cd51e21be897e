//! The port where models are loaded and unloaded: of the inference service, the calls of the repository alone.

use axum::{extract::Request, middleware::Next, response::Response};
use tonic::Status;

use super::{admission, proto::grpc_inference_service_server::SERVICE_NAME};

/// What is answered there.
const CALLS: [&str; 3] = [
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
];

/// What clients of Triton may send along makes the only large messages here.
const HINT: &str = ": models and their configuration come from the model repository alone; put the files there and load the model \
                    without them";

/// Lets nothing else in, and cuts off messages that are large or take too long.
pub(super) async fn only(mut request: Request, next: Next) -> Response {
    let call = request.uri().path().strip_prefix('/');
    let call = call.and_then(|it| it.strip_prefix(SERVICE_NAME)?.strip_prefix('/'));
    if !call.is_some_and(|call| CALLS.contains(&call)) {
        let sentence = format!(
            "nothing but {} is answered on this port: ask that of --grpc-port",
            CALLS.join(", ")
        );
        return Status::unimplemented(sentence).into_http();
    }
    admission::pack_for_packers(request.headers_mut());
    next.run(request.map(|body| admission::small(body, HINT)))
        .await
}
