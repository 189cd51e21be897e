//! Binaries find libtorch.

#[path = "../serving/rpath.rs"]
mod rpath;

fn main() {
    rpath::rpath();
}
