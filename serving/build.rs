//! The messages of gRPC are generated, without protoc; and binaries find libtorch.

mod rpath;

use std::{env, error::Error, fs, path::Path};

use prost::Message;

/// The folder of the proto files.
const PROTO: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    rpath::rpath();
    println!("cargo:rerun-if-changed={PROTO}");
    // Text is read by a schema at run time, and then becomes the message that is generated of it.
    let config = protox::compile(["model_config.proto"], [PROTO])?;
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    fs::write(
        Path::new(&out).join("model_config.bin"),
        config.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(config)?;
    let descriptors = protox::compile(["inference.proto"], [PROTO])?;
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
