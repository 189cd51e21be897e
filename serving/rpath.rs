//! Binaries find libtorch by rpath, so that nobody has to set LD_LIBRARY_PATH. Build scripts share this.

use std::path::Path;

pub(crate) fn rpath() {
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
