//! A traffic generator: keep-alive HTTP/1.1 connections on one thread of its own.
//!
//! Open loop: the schedule does not wait for answers, so a slow server gets as many requests as a fast one. When the
//! machine cannot keep up, the slots that passed are counted as late and left out: the rate never rises above what was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::tally::{Ending, Tally};

/// The response header that names the version which answered.
pub const VERSION_HEADER: &str = "x-serin-model-version";

/// How old a slot may be when a connection takes it; timers are exact to a millisecond, schedulers to a few.
const TOLERANCE: Duration = Duration::from_millis(50);

/// One request to send.
#[derive(Debug, Clone)]
pub struct Call {
    /// Under whom it is counted.
    pub user: u64,
    /// The host that is asked.
    pub host: HeaderValue,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A JSON body, sent by POST; an empty one makes it a GET.
    pub body: Bytes,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// This many a second, evenly spaced, whatever the answers do.
    Open {
        /// Requests a second.
        rate: f64,
    },
    /// Each connection sends as soon as it has its answer.
    Closed,
}

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the requests go.
    pub address: SocketAddr,
    /// When.
    pub pace: Pace,
    /// Over how many connections; with an open loop this bounds the requests in flight.
    pub connections: usize,
    /// After how long a request counts as broken.
    pub timeout: Duration,
}

impl Plan {
    /// Everything as fast as the answers come.
    #[must_use]
    pub fn closed(address: SocketAddr, connections: usize) -> Plan {
        Plan {
            address,
            pace: Pace::Closed,
            connections,
            timeout: Duration::from_secs(30),
        }
    }

    /// A rate in requests a second.
    #[must_use]
    pub fn open(address: SocketAddr, rate: f64) -> Plan {
        // Enough for answers that take 100 ms at 600 requests/s, and cheap when idle.
        Plan {
            address,
            pace: Pace::Open { rate },
            connections: 64,
            timeout: Duration::from_secs(10),
        }
    }
}

/// One request that is over.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Whose it was.
    pub user: u64,
    /// When it was sent.
    pub sent: Instant,
    /// Time from then to the whole answer.
    pub took: Duration,
    /// How it ended.
    pub ending: Ending,
}

impl Visit {
    /// The version that answered, if a model server did.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match &self.ending {
            Ending::Answered { version, .. } => version.as_deref(),
            Ending::Broken(_) => None,
        }
    }
}

/// Traffic that flows until its calls run out, it is stopped, or it is dropped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Starts sending `calls`.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(
        plan: Plan,
        calls: impl Iterator<Item = Call> + Send + 'static,
    ) -> Result<Traffic> {
        Traffic::start_watched(plan, calls, |_| {})
    }

    /// [`Traffic::start`], with each request told as soon as it is over; the traffic waits meanwhile, so be short.
    ///
    /// # Errors
    /// As [`Traffic::start`].
    pub fn start_watched(
        plan: Plan,
        calls: impl Iterator<Item = Call> + Send + 'static,
        watch: impl FnMut(Visit) + Send + 'static,
    ) -> Result<Traffic> {
        let shared = Arc::new(Mutex::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        // A runtime of one thread: no work is handed between threads, which costs more than the work.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start a runtime for the traffic")?;
        let book = Book {
            tally: Arc::clone(&shared),
            watch: Arc::new(Mutex::new(watch)),
        };
        let thread = std::thread::Builder::new()
            .name("traffic".to_owned())
            .spawn(move || runtime.block_on(drive(plan, Box::new(calls), book, stopped)))
            .context("failed to start the traffic thread")?;
        Ok(Traffic {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// What the clients saw so far.
    #[must_use]
    pub fn snapshot(&self) -> Tally {
        lock(&self.shared).clone()
    }

    /// Looks at what the clients saw so far without copying it; senders wait meanwhile, so be short.
    pub fn look<T>(&self, view: impl FnOnce(&Tally) -> T) -> T {
        view(&lock(&self.shared))
    }

    /// Sends no more, waits for the answers still due, and returns what the clients saw.
    ///
    /// # Errors
    /// When no connection could be made at all.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.send_replace(true);
        self.finish().await
    }

    /// Waits until the calls have run out, and returns what the clients saw.
    ///
    /// # Errors
    /// When no connection could be made at all.
    pub async fn finish(mut self) -> Result<Tally> {
        if let Some(thread) = self.thread.take() {
            tokio::task::spawn_blocking(move || thread.join())
                .await
                .context("failed to wait for the traffic thread")?
                .map_err(|_| anyhow!("the traffic thread panicked"))??;
        }
        Ok(self.snapshot())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A tally is numbers: a panic of another thread while it counted spoils at most one request.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Calls = Box<dyn Iterator<Item = Call> + Send>;

/// What the connections share: the schedule and the calls, handed out in step.
struct Desk {
    calls: Calls,
    /// The next slot and the distance between slots; none with a closed loop.
    slot: Option<(Instant, Duration)>,
}

impl Desk {
    /// The next call and when to send it, with the number of slots that passed unused.
    fn next(&mut self, now: Instant) -> Option<(Call, Option<Instant>, u64)> {
        let mut late = 0;
        let mut due = None;
        if let Some((slot, gap)) = &mut self.slot {
            while *slot + TOLERANCE < now {
                *slot += *gap;
                late += 1;
            }
            due = Some(*slot);
            *slot += *gap;
        }
        Some((self.calls.next()?, due, late))
    }
}

/// Where what happened is written down.
#[derive(Clone)]
struct Book {
    tally: Arc<Mutex<Tally>>,
    watch: Arc<Mutex<dyn FnMut(Visit) + Send>>,
}

async fn drive(plan: Plan, calls: Calls, book: Book, stopped: watch::Receiver<bool>) -> Result<()> {
    let slot = match plan.pace {
        Pace::Open { rate } => Some((Instant::now(), Duration::from_secs_f64(1.0 / rate))),
        Pace::Closed => None,
    };
    let desk = Arc::new(Mutex::new(Desk { calls, slot }));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..plan.connections {
        workers.spawn(work(plan, Arc::clone(&desk), book.clone(), stopped.clone()));
    }
    while let Some(worker) = workers.join_next().await {
        worker.context("a connection of the traffic panicked")?;
    }
    Ok(())
}

async fn work(plan: Plan, desk: Arc<Mutex<Desk>>, book: Book, mut stopped: watch::Receiver<bool>) {
    let mut connection = None;
    while !*stopped.borrow() {
        let Some((call, due, late)) = lock(&desk).next(Instant::now()) else {
            return;
        };
        if late > 0 {
            lock(&book.tally).late += late;
        }
        if let Some(due) = due {
            tokio::select! {
                () = sleep_until(due) => {}
                _ = stopped.changed() => return,
            }
        }
        let user = call.user;
        let start = Instant::now();
        let ending = match timeout(plan.timeout, send(&mut connection, plan.address, call)).await {
            Ok(Ok(ending)) => ending,
            Ok(Err(error)) => {
                connection = None;
                Ending::Broken(format!("{error:#}"))
            }
            Err(_) => {
                connection = None;
                Ending::Broken(format!("no answer within {:?}", plan.timeout))
            }
        };
        let took = start.elapsed();
        lock(&book.tally).record(user, &ending, took);
        let mut watch = lock(&book.watch);
        watch(Visit {
            user,
            sent: start,
            took,
            ending,
        });
    }
}

type Connection = SendRequest<Full<Bytes>>;

async fn send(slot: &mut Option<Connection>, address: SocketAddr, call: Call) -> Result<Ending> {
    // A connection that the other side closed between two requests is no failed request.
    let kept = match slot.as_mut() {
        Some(open) => open.ready().await.is_ok(),
        None => false,
    };
    if !kept {
        *slot = None;
    }
    let connection = match slot {
        Some(open) => open,
        none => none.insert(connect(address).await?),
    };
    let method = if call.body.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    let mut request = Request::builder()
        .method(method)
        .uri(call.path)
        .header(HOST, call.host);
    if !call.body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(call.body))
        .context("failed to make a request")?;
    let response = connection
        .send_request(request)
        .await
        .context("failed to get an answer")?;
    let status = response.status().as_u16();
    let version = response
        .headers()
        .get(VERSION_HEADER)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.context("failed to get the whole answer")?;
    }
    Ok(Ending::Answered { status, version })
}

async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address)
        .await
        .context("failed to connect")?;
    stream
        .set_nodelay(true)
        .context("failed to set up a connection")?;
    let (sender, driver) = handshake(TokioIo::new(stream))
        .await
        .context("failed to connect")?;
    // Ends with the sender; what went wrong is told to the request as well.
    tokio::spawn(async move { driver.await.ok() });
    Ok(sender)
}

#[cfg(test)]
mod tests;
