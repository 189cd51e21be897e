//! The loop: changes and Prometheus' word in, writes out. All decisions are made in [`Fleet`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client as Kube;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::apply::{Faults, Term, Writer};
use super::fleet::{Fleet, Settings};
use super::lease::{self, Candidate};
use super::looks::Looks;
use super::metrics::Metrics;
use super::notes::Announcer;
use super::object::Kind;
use super::perform::{descend, perform};
use super::watch::{Change, Present, Source, start};
use crate::driver::{Managed, World, chain};
use crate::endpoint::{self, Board, HANGS_AFTER};
use crate::prometheus::{Client, Selectors};
use crate::validate::RolloutName;

/// Changes that wait to be looked at. A plugin's object may be a megabyte of text, and many times that once it is read.
const QUEUE: usize = 64;
/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last writes, and giving up the Lease, may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Settings of a controller in a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides.
    pub settings: Settings,
    /// Kinds of plugin objects that this installation does not write: what is left of them must go.
    pub other_kinds: Vec<Kind>,
    /// Which scrape targets are the proxies.
    pub selectors: Selectors,
    /// Namespace of the installation: the Lease is there.
    pub namespace: String,
    /// Rhythm of the decisions.
    pub tick: Duration,
    /// Name of this controller among its like.
    pub identity: String,
    /// Where the endpoint listens.
    pub listen: SocketAddr,
    /// Where others reach it; `None`: as it listens.
    pub address: Option<String>,
    /// Whether others may run beside it.
    pub leader_election: bool,
    /// See [`Faults`].
    pub faults: Option<u64>,
}

/// Why the controller cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The endpoint.
    #[error("failed to listen on {address}: choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The endpoint stopped.
    #[error("failed to serve the status endpoint")]
    Serve(#[source] std::io::Error),
    /// Metrics.
    #[error("failed to register the metrics")]
    Metrics(#[source] prometheus::Error),
    /// A task ended that must not.
    #[error("a watch ended by itself, which is a mistake of ours")]
    Watch,
}

/// Runs until `shutdown`. Everything that matters is in the cluster, so it may as well be killed.
///
/// # Errors
/// [`ClusterError`] when it cannot start, or its endpoint breaks.
pub async fn run(
    options: Options,
    kube: Kube,
    prometheus: Client,
    shutdown: CancellationToken,
) -> Result<(), ClusterError> {
    let listen = |source| ClusterError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let address = options.address.clone();
    let address = address.unwrap_or_else(|| format!("http://{local}"));
    let metrics = Metrics::new().map_err(ClusterError::Metrics)?;
    let board = Board::default();
    let (text, of_rollouts) = (metrics.clone(), board.clone());
    let mut server = tokio::spawn(endpoint::serve(
        listener,
        endpoint::Shown {
            board: board.clone(),
            metrics: Some(std::sync::Arc::new(move || {
                let text = text.text(&of_rollouts.sources());
                text.unwrap_or_else(|error| format!("# {error}\n"))
            })),
        },
        shutdown.clone(),
    ));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address,
        identity = options.identity,
        "controller started"
    );

    let (term_sender, term) = watch::channel::<Term>(None);
    let mut candidate =
        Candidate::new(&kube, &options.namespace, options.identity.clone(), address);
    let campaign = campaign(&options, &mut candidate, &term_sender, &board, &shutdown);
    let (leads, mut led) = watch::channel(false);
    let lead = async {
        loop {
            let mut leading = term.clone();
            // The sender lives as long as this future does.
            let _ = leading.wait_for(Option::is_some).await;
            metrics.leads(true);
            leads.send_replace(true);
            tracing::info!("leads from here on");
            let ended = lead(&options, &kube, &prometheus, &metrics, &board, &term).await;
            metrics.leads(false);
            board.clear();
            leads.send_replace(false);
            tracing::warn!("leads no more");
            if let Err(error) = ended {
                return error;
            }
        }
    };
    let campaign = async {
        campaign.await;
        // Writes on their way end before the next leader may begin.
        term_sender.send_replace(None);
        let idle = tokio::time::timeout(FAREWELL, led.wait_for(|leads| !leads)).await;
        if idle.is_err() {
            tracing::warn!("the last writes have not ended in time");
        }
    };
    let result = tokio::select! {
        () = campaign => Ok(()),
        error = lead => Err(error),
        served = &mut server => return ended(served),
    };
    if options.leader_election {
        let released = tokio::time::timeout(FAREWELL, candidate.release()).await;
        let error = match &released {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(error)),
            Err(_) => Some("the API server does not answer".to_owned()),
        };
        if let Some(error) = error {
            tracing::warn!(
                error,
                "the Lease cannot be given up: the next leader waits for its end"
            );
        }
    }
    result?;
    match tokio::time::timeout(GRACE, &mut server).await {
        Ok(served) => ended(served),
        Err(_) => {
            server.abort();
            Ok(())
        }
    }
}

fn ended(served: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), ClusterError> {
    served
        .map_err(std::io::Error::other)
        .and_then(|served| served)
        .map_err(ClusterError::Serve)
}

/// Renews the Lease, or looks whether it is free, until the end.
async fn campaign(
    options: &Options,
    candidate: &mut Candidate,
    term: &watch::Sender<Term>,
    board: &Board,
    shutdown: &CancellationToken,
) {
    if !options.leader_election {
        // A day is for ever, and is renewed below.
        loop {
            term.send_replace(Some(Instant::now() + Duration::from_secs(86_400)));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
            }
        }
    }
    loop {
        if board.silence() > HANGS_AFTER {
            tracing::error!("the loop hangs: the Lease is left to another controller");
            term.send_replace(None);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(lease::EVERY) => continue,
            }
        }
        // A renewal that hangs must not outlive the term.
        let renewed = tokio::time::timeout(lease::EVERY * 2, candidate.renew()).await;
        match renewed {
            Ok(Ok(Some(until))) => {
                board.follow(None);
                term.send_replace(Some(until));
            }
            Ok(Ok(None)) => {
                board.follow(candidate.leader.clone());
                term.send_replace(None);
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the Lease cannot be renewed; tried again"
                );
            }
            Err(_) => tracing::warn!("the Lease cannot be renewed in time; tried again"),
        }
        let over = term.borrow().is_some_and(|until| Instant::now() >= until);
        if over {
            term.send_replace(None);
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(lease::EVERY) => {}
        }
    }
}

/// From the first list to the end of the term.
async fn lead(
    options: &Options,
    kube: &Kube,
    prometheus: &Client,
    metrics: &Metrics,
    board: &Board,
    term: &watch::Receiver<Term>,
) -> Result<(), ClusterError> {
    let mut kinds = vec![
        Kind::DestinationRule,
        Kind::VirtualService,
        options.settings.kind,
    ];
    kinds.extend(&options.other_kinds);
    let (sender, mut changes) = mpsc::channel(QUEUE);
    let (mut watches, mut incomplete) = start(kube, &kinds, &options.settings.watched, &sender);
    let faults = Faults::new(options.faults);
    let writer = Writer::new(kube.clone(), term.clone(), metrics.clone(), faults);
    let mut announcer = Announcer::new(kube.clone(), &options.identity);
    let mut fleet = Fleet::new(options.settings.clone());
    fleet.expect_list();
    let mut waiting: Vec<Change> = Vec::new();
    let mut ticks = tokio::time::interval(options.tick);
    // A round that took long must not make the next look later still.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let grid = options.settings.grid;
    let mut looks = Looks::new(prometheus.clone(), grid, options.selectors.clone());
    let mut leading = term.clone();
    let (mut begun, mut more) = (false, false);
    loop {
        let mut due = false;
        tokio::select! {
            biased;
            _ = leading.wait_for(Option::is_none) => return Ok(()),
            Some(_) = watches.join_next() => return Err(ClusterError::Watch),
            // Before the changes, of which there may be no end.
            seen = looks.next() => looks.take_in(seen, &mut fleet, metrics),
            _ = ticks.tick() => due = incomplete.is_empty(),
            // Whoever goes down meanwhile has had its turn above.
            () = std::future::ready(()), if looks.is_counting() => looks.count(&mut fleet, metrics),
            () = std::future::ready(()), if more => {}
            change = changes.recv() => {
                let Some(change) = change else {
                    return Err(ClusterError::Watch);
                };
                waiting.push(change);
            }
        }
        // Everything that is there already, in one go, whatever came first.
        while waiting.len() < QUEUE
            && let Ok(change) = changes.try_recv()
        {
            waiting.push(change);
        }
        board.beat();
        let now = Timestamp::now();
        let news = !waiting.is_empty();
        for change in waiting.drain(..) {
            take_in(&mut fleet, change, &mut incomplete, now);
        }
        if !incomplete.is_empty() {
            // On half a picture everything else would seem to be gone.
            continue;
        }
        fleet.all_told(now);
        // The first look follows the whole picture at once: somebody may have died on the way down.
        due |= !std::mem::replace(&mut begun, true);
        if news {
            fleet.answer(now);
        }
        if due {
            let asks = fleet.asks();
            if asks.is_empty() {
                fleet.tick(&World::default(), now);
            } else {
                looks.glance(asks);
            }
        }
        if looks.is_counting() {
            // The rest is written in one go when all are counted.
            descend(&mut fleet, &writer, now).await;
            continue;
        }
        perform(&mut fleet, &writer, now).await;
        more = fleet.take_left_over();
        for id in fleet.drifted() {
            metrics.drifted(id.kind.name());
            tracing::warn!(%id, "somebody changed it; it is as it should be again");
        }
        let changed = fleet.take_changed();
        announcer.announce(&fleet, &changed);
        show(&fleet, &changed, metrics, board);
    }
}

fn take_in(fleet: &mut Fleet, change: Change, incomplete: &mut BTreeSet<Source>, now: Timestamp) {
    match change {
        Change::Resource(resource) => fleet.resource(&resource, now),
        Change::ResourceGone(name) => fleet.resource_gone(&name),
        Change::Object(id, object) => fleet.object(id, Some(*object)),
        Change::ObjectGone(id) => fleet.object(id, None),
        Change::Complete(source, present) => {
            let namespace = source.namespace.clone();
            match present {
                Present::Resources(there) => fleet.only(namespace.as_deref(), &there),
                Present::Objects(there) => {
                    if let Some(kind) = source.kind {
                        fleet.only_objects(kind, namespace.as_deref(), &there);
                    }
                }
            }
            incomplete.remove(&source);
        }
    }
}

fn show(fleet: &Fleet, changed: &BTreeSet<RolloutName>, metrics: &Metrics, board: &Board) {
    metrics.sizes(fleet.sizes(), fleet.generation());
    let changes = changed.iter().map(|name| {
        let known = fleet.look_up(name);
        let managed = known.and_then(|it| it.managed);
        let never = known.filter(|it| it.managed.is_none());
        let problems = never.map_or(&[][..], |it| it.problems).iter();
        endpoint::Change {
            name: name.clone(),
            sources: managed.map(Managed::sources),
            problems: problems.map(|why| format!("{name}: {why}")).collect(),
        }
    });
    board.update(changes.collect(), fleet.generation());
}
