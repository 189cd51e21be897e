//! Work that takes longer than others should wait for.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// Bytes that take a millisecond or more as JSON.
const MUCH: usize = 256 << 10;

/// Reads or writes so many bytes. Where they are many, another thread takes over meanwhile what this one has to do beside:
/// there are few threads for all clients, and health checks are among those.
pub(crate) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let several = |it: Handle| it.runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes >= MUCH && Handle::try_current().is_ok_and(several) {
        block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn others_go_on_while_many_bytes_are_read() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let waiting = runtime.spawn(async {
            let (done, other) = mpsc::channel();
            tokio::spawn(async move { done.send(()) });
            // With a single thread, the other would wait for this one, and this one for the other.
            aside(MUCH, || other.recv())
        });
        assert_eq!(runtime.block_on(waiting).unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(aside(MUCH, || 1), 1);
    }
}
