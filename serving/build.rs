//! The messages of gRPC are generated, without protoc; and binaries find libtorch.

mod rpath;

use std::error::Error;

/// The one proto file, and the folder that it is in.
const PROTO: (&str, &str) = ("inference.proto", "proto");

fn main() -> Result<(), Box<dyn Error>> {
    rpath::rpath();
    println!("cargo:rerun-if-changed={}", PROTO.1);
    let descriptors = protox::compile([PROTO.0], [PROTO.1])?;
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(test)]")
        .build_transport(false)
        // Tensors are handed on without a copy.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        // So that of two wrong parameters it is always the same one that is named.
        .btree_map(".")
        .codec_path("crate::grpc::codec::Bounded")
        .compile_fds(descriptors)?;
    Ok(())
}
