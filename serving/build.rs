//! Binaries find libtorch by rpath, so that nobody has to set LD_LIBRARY_PATH; and the messages of gRPC are generated,
//! without protoc.

use std::{error::Error, path::Path};

/// The one proto file, and the folder that it is in.
const PROTO: (&str, &str) = ("inference.proto", "proto");

fn main() -> Result<(), Box<dyn Error>> {
    rpath();
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

fn rpath() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else {
        return;
    };
    let lib = Path::new(&libtorch).join("lib");
    println!(
        "cargo:rerun-if-changed={}",
        lib.join("libtorch.so").display()
    );
    // The real path first, for the link may be moved while the binary stays; then the link, for the cache may be moved.
    for path in [lib.canonicalize(), std::path::absolute(&lib)]
        .into_iter()
        .flatten()
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", path.display());
    }
}
