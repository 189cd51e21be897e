//! SHA-256 of files, however large.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// The sum of a file.
pub type Sum = [u8; SHA256_OUTPUT_LEN];

/// The sum of a file; none if `stop` was set meanwhile.
///
/// # Errors
/// [`io::Error`] if the file cannot be read.
pub fn sum(file: &Path, stop: &AtomicBool) -> io::Result<Option<Sum>> {
    let mut file = File::open(file)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let read = file.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|it| !it.is_empty()) else {
            break;
        };
        context.update(bytes);
    }
    Ok(context.finish().as_ref().try_into().ok())
}

/// Does work that reads files where requests do not wait for it; none if it panicked. It is told to stop when whoever
/// waits for it has gone: the process waits for such threads at its end.
pub async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Option<T> {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Stop(Arc::default());
    let flag = Arc::clone(&stop.0);
    tokio::task::spawn_blocking(move || work(&flag)).await.ok()
}
