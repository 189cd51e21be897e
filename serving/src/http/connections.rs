//! Connections of HTTP/1.1, within bounds of size and time.
//!
//! Not `axum::serve`: it waits for a request's headers for ever.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::response::Response;
use hyper::{
    Request,
    body::Incoming,
    rt::{Read, ReadBufCursor, Sleep, Timer, Write},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval},
};

/// A connection that has had its answers may stay idle for so long. Longer than proxies keep theirs (Envoy an hour), so
/// that it is they who close them: a request may be under way when we do.
const IDLE: Duration = Duration::from_secs(65 * 60);

/// A client that takes nothing of its answers for so long is given up, and their memory freed: the kernel sees to it
/// (tcp(7), `TCP_USER_TIMEOUT`).
const UNREAD: Duration = Duration::from_secs(60);

/// How often it is looked whether a connection's time is over, at the least.
const LOOK: Duration = Duration::from_secs(5);

/// Bytes of the first line and all headers of a request, as over gRPC. There may be 100 headers: hyper's own bound. Where
/// it is set, to whatever number, hyper fills two buffers by a loop for every request.
const MAX_HEADERS: usize = 16 << 10;

/// After a connection that could not be accepted: without a free descriptor the next try fails as well, and at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until `shutdown`, and finishes the requests in flight. Headers have to be complete after `patience`, and the first
/// of a connection to have begun. Requests say where they come from if `peers`.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    service: S,
    (patience, peers): (Duration, bool),
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_client(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "failed to accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        prepare(&stream);
        let service = service.clone();
        let peer = peers.then_some(Peer(peer.ip()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            service.call(request)
        });
        let reads = Arc::new(AtomicU64::new(0));
        let connection = http1::Builder::new()
            .timer(Patience(Arc::clone(&reads)))
            // What it means is up to the timer.
            .header_read_timeout(patience)
            .max_header_size(MAX_HEADERS)
            .serve_connection(Counted::new(stream, reads), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut looks = interval(LOOK.min(patience / 4));
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => {
                        if let Err(error) = ended {
                            tracing::debug!(%error, "a connection ended");
                        }
                        return;
                    }
                    // The connection looks at its timer now.
                    _ = looks.tick() => {}
                }
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Sets what a connection of a client needs, where it can be set.
pub(crate) fn prepare(stream: &TcpStream) {
    // Small answers must not wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD)) {
        tracing::debug!(%error, "failed to set TCP_USER_TIMEOUT");
    }
}

/// Whether an error of accepting says nothing of the next connection.
pub(crate) fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// A timer that wakes nobody: a real one for each request would cost every request, and here it may be late by a [`LOOK`].
#[derive(Debug)]
struct Patience(Arc<AtomicU64>);

/// The time that headers have. It is counted from the end of the answer before them.
#[derive(Debug)]
struct Wait {
    patience: Duration,
    until: Instant,
    /// Reads of the connection so far.
    reads: Arc<AtomicU64>,
    /// The same when it began.
    before: u64,
    /// When it was first seen that a later request had begun.
    begun: Option<Instant>,
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, until: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait {
            patience: until.saturating_duration_since(Instant::now()),
            until,
            before: self.0.load(Ordering::Relaxed),
            reads: Arc::clone(&self.0),
            begun: None,
        })
    }
}

impl Wait {
    /// Whether it is over, if there have been so many reads.
    fn is_over(&mut self, now: Instant, reads: u64) -> bool {
        if self.before == 0 {
            // The first request has to begin, too.
            now >= self.until
        } else if reads == self.before {
            // It has had an answer, and not a byte of the next request is here.
            now >= self.until + IDLE
        } else {
            now >= *self.begun.get_or_insert(now) + self.patience
        }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let reads = self.reads.load(Ordering::Relaxed);
        if self.is_over(Instant::now(), reads) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Sleep for Wait {}

/// A stream that counts its reads.
struct Counted {
    inner: TokioIo<TcpStream>,
    reads: Arc<AtomicU64>,
}

impl Counted {
    fn new(stream: TcpStream, reads: Arc<AtomicU64>) -> Self {
        Self {
            inner: TokioIo::new(stream),
            reads,
        }
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if read.is_ready() {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_gives_up_clients_that_take_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        prepare(&stream);
        let timeout = SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(UNREAD));
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn headers_have_their_time_and_idle_connections_an_hour() {
        let (second, long) = (Duration::from_secs(1), Duration::from_secs(60));
        let begin = Instant::now();
        // Looks at a connection with so many reads, so long after the timer began.
        let over = |before, looks: &[(Duration, u64)]| {
            let mut wait = Wait {
                patience: second,
                until: begin + second,
                reads: Arc::default(),
                before,
                begun: None,
            };
            let mut looks = looks
                .iter()
                .map(|(after, reads)| wait.is_over(begin + *after, *reads));
            looks.by_ref().collect::<Vec<_>>()
        };
        for (what, before, looks) in [
            ("nothing was ever sent", 0, [(second / 2, 0), (second, 0)]),
            (
                "a part of the first headers",
                0,
                [(second / 2, 1), (second, 1)],
            ),
            ("idle after an answer", 7, [(long, 7), (second + IDLE, 7)]),
            (
                "a part of later headers",
                7,
                [(second / 2, 8), (second * 3 / 2, 8)],
            ),
            ("the same after a while", 7, [(long, 8), (long + second, 8)]),
        ] {
            assert_eq!(over(before, &looks), [false, true], "{what}");
        }
    }
}
