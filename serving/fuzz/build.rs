//! Binaries find libtorch.

#[path = "../rpath.rs"]
mod rpath;

fn main() {
    rpath::rpath();
}
