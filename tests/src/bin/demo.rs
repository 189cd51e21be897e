//! `make demo`: a good version of a fraud model takes over live traffic step by step, then a bad one is thrown out by
//! itself. Every part is the real one. Exits 0 only if both went as they should.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, bail};
use clap::Parser;
use serin_controller::rollout::Phase;
use serin_tests::cluster::identity::ADMIN;
use serin_tests::cluster::mesh::{HOST, MODELS, Mesh};
use serin_tests::demo::fleet::Fleet;
use serin_tests::demo::place::{CONTROLLER, Place};
use serin_tests::demo::population::Population;
use serin_tests::demo::screen::Screen;
use serin_tests::demo::stop::Stop;
use serin_tests::demo::story::{self, Chapter, FILE};
use serin_tests::demo::summary;
use serin_tests::installation::Installation;
use serin_tests::tools;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::world::World;

/// Enough for a verdict in half a minute, and little enough for two cores.
const RATE: f64 = 1_000.0;
/// In a cluster the API server, istiod and a second proxy want their share.
const CLUSTER_RATE: f64 = 600.0;
const USERS: usize = 50_000;
const SEED: u64 = 8;

/// A good release and a bad one, on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Leave everything running at the end, print the addresses, and wait for Ctrl-C
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
    keep: bool,
    /// Show it in a cluster: API server, istiod, a gateway and a sidecar
    #[arg(long)]
    cluster: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // The runtime goes before anything is said: with it end the threads that cannot be interrupted, training above all.
    let done = tokio::runtime::Runtime::new()
        .context("failed to start a runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    if let Err(error) = done {
        // The terminal may be gone, which must not change how the demo ends.
        writeln!(std::io::stderr(), "demo: {error:#}").ok();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Whatever ends the demo, its values are dropped, and with them processes and files.
async fn run(args: &Args) -> Result<()> {
    if args.cluster {
        show(args, CLUSTER_RATE, in_a_cluster).await
    } else {
        show(args, RATE, in_a_folder).await
    }
}

async fn in_a_folder(world: World, fleet: &Fleet, screen: &mut Screen) -> Result<Installation> {
    screen.line("starting controller, Envoy and Prometheus")?;
    let [old, good, _] = &fleet.versions;
    let first = story::rollout::<Installation>(old.number, good.number);
    let installation = Installation::start(world, 2, fleet.clusters(), &[(FILE, &first)]).await?;
    story::first_status(&installation).await?;
    Ok(installation)
}

async fn in_a_cluster(world: World, fleet: &Fleet, screen: &mut Screen) -> Result<Mesh> {
    screen.line(
        "starting API server, etcd, istiod, a gateway, the sidecar of a caller, Prometheus and controller",
    )?;
    let versions = fleet.ports().into_iter();
    let versions = versions.map(|(number, port)| (number.to_string(), port));
    let mut mesh = Mesh::around(world, versions.collect(), &[]).await?;
    mesh.start_controller(CONTROLLER, &[]).await?;
    Ok(mesh)
}

async fn show<P: Place + Kept>(
    args: &Args,
    rate: f64,
    build: impl AsyncFnOnce(World, &Fleet, &mut Screen) -> Result<P>,
) -> Result<()> {
    let mut stop = Stop::watch()?;
    let mut screen = Screen::default();
    let begun = Instant::now();
    let mut stage = tokio::select! {
        stage = Stage::set(&mut screen, rate, build) => stage?,
        signal = stop.asked() => return Err(cut_short(signal)),
    };
    let told = tokio::select! {
        told = stage.play(&mut screen, begun) => told,
        signal = stop.asked() => return Err(cut_short(signal)),
    };
    if args.keep {
        // A failure most of all: somebody may want to look at it.
        keep(&mut screen, &stage.place, told.as_ref().err())?;
        stop.asked().await;
    }
    tokio::select! {
        ended = stage.end() => ended?,
        signal = stop.asked() => return Err(cut_short(signal)),
    }
    told
}

fn cut_short(signal: &str) -> Error {
    anyhow!("stopped by {signal}; nothing is left behind")
}

/// Everything that runs, before the first release.
struct Stage<P> {
    fleet: Fleet,
    place: P,
    population: Population,
    plan: Plan,
    traffic: Traffic,
}

impl<P: Place> Stage<P> {
    async fn set(
        screen: &mut Screen,
        rate: f64,
        build: impl AsyncFnOnce(World, &Fleet, &mut Screen) -> Result<P>,
    ) -> Result<Stage<P>> {
        let world = World::new("demo")?;
        screen.line("training three versions of a fraud model on generated transactions")?;
        let fleet = Fleet::start(&world).await?;
        for version in &fleet.versions {
            screen.line(&format!(
                "  version {}: AUC {:.3} on the hold-out set",
                version.number, version.auc
            ))?;
        }
        let place = build(world, &fleet, screen).await?;
        let [_, _, bad] = &fleet.versions;
        let population = Population::new(USERS, SEED);
        let plan = Plan::open(place.entrance(), rate);
        screen.line(&format!(
            "{rate} requests/s from {USERS} users, {:.0} % of them in countries that version {} has never seen",
            population.new_share() * 100.0,
            bad.number
        ))?;
        let traffic = Traffic::start(plan, calls::<P>(&population, SEED))?;
        Ok(Stage {
            fleet,
            place,
            population,
            plan,
            traffic,
        })
    }

    /// Both releases and what is to be said of them; an error unless both ended as they should.
    async fn play(&mut self, screen: &mut Screen, begun: Instant) -> Result<()> {
        let mut chapters = Vec::new();
        let told = self.tell(screen, &mut chapters).await;
        screen.headline("what happened when")?;
        screen.line(&summary::timeline(&chapters, screen.width()))?;
        for verdict in summary::verdicts(&chapters, &self.fleet.versions, USERS) {
            screen.line(&verdict)?;
        }
        screen.line(&format!(
            "all of it took {:.0} s",
            begun.elapsed().as_secs_f64()
        ))?;
        if let Err(error) = told {
            let log = self.place.log();
            let why = format!("{error:#}");
            // When the controller died, its log is part of the reason.
            if why.contains(&log) {
                return Err(error);
            }
            bail!("{why}\nthe controller's log ends with\n{log}");
        }
        let phases: Vec<Phase> = chapters.iter().map(|chapter| chapter.phase).collect();
        if phases != [Phase::Succeeded, Phase::RolledBack] {
            bail!(
                "it did not go as it should: the good version must become live, and the bad one be rolled back"
            );
        }
        Ok(())
    }

    async fn tell(&mut self, screen: &mut Screen, chapters: &mut Vec<Chapter>) -> Result<()> {
        let [old, good, bad] = self.fleet.versions.each_ref().map(|it| it.number);
        let place = &mut self.place;
        chapters.push(story::release(place, &self.traffic, screen, old, good).await?);
        // The next release has its own count of users.
        let next = Traffic::start(self.plan, calls::<P>(&self.population, SEED + 1))?;
        std::mem::replace(&mut self.traffic, next).stop().await?;
        chapters.push(story::release(place, &self.traffic, screen, good, bad).await?);
        Ok(())
    }

    async fn end(self) -> Result<()> {
        self.traffic.stop().await?;
        self.place.end().await
    }
}

fn calls<P: Place>(
    population: &Population,
    seed: u64,
) -> impl Iterator<Item = Call> + Send + use<P> {
    let calls = population.clone().calls(seed);
    calls.map(|call| Call {
        host: P::host(),
        ..call
    })
}

/// Says where everything is that is left running.
fn keep(screen: &mut Screen, place: &impl Kept, failure: Option<&Error>) -> Result<()> {
    if let Some(error) = failure {
        screen.line(&format!("{error:#}"))?;
    }
    screen.headline("left running; Ctrl-C ends it")?;
    for line in place.addresses(&tools::programs()?.serin)? {
        screen.line(&line)?;
    }
    Ok(())
}

/// What a person may want to look at.
trait Kept {
    fn addresses(&self, serin: &Path) -> Result<Vec<String>>;
}

impl Kept for Installation {
    fn addresses(&self, serin: &Path) -> Result<Vec<String>> {
        let status = self.state()?.state.name;
        let folder = self.folder().display();
        Ok(vec![
            format!(
                "requests    http://{}  (host fraud.ml)",
                self.envoy.address()
            ),
            format!(
                "envoy       http://{}/stats/prometheus",
                self.envoy.admin_address()
            ),
            format!("prometheus  {}", self.prometheus.url()),
            format!("rollout     {folder}/{FILE}"),
            format!(
                "status      {} watch {status} --standalone {folder}",
                serin.display()
            ),
        ])
    }
}

impl Kept for Mesh {
    fn addresses(&self, serin: &Path) -> Result<Vec<String>> {
        let [gateway, sidecar] = self.entrances;
        let config = self.control_plane.kubeconfig(ADMIN)?;
        let config = config.display();
        let kubectl = tools::kubectl()?;
        Ok(vec![
            format!(
                "requests    http://{gateway} (gateway), http://{sidecar} (sidecar)  (host {HOST})"
            ),
            format!(
                "envoy       http://{}/stats/prometheus",
                self.gateway.admin_address()
            ),
            format!("prometheus  {}", self.prometheus.url()),
            format!(
                "cluster     {} --kubeconfig {config} -n {MODELS} get mro,vs,dr,events",
                kubectl.display()
            ),
            format!(
                "status      {} watch {MODELS}/fraud --kubeconfig {config}",
                serin.display()
            ),
        ])
    }
}
