//! Thousands of rollouts in a real API server, with Prometheus' stand-in: what the controller uses while releases go on,
//! and how long a release that turns bad keeps its weight.
//!
//! A fault is the end of every request of the new version, in all groups of users: more than the hard guard allows, so
//! that one look at its window suffices. It is visible from the moment on at which Prometheus would have answered so; the
//! controller may look for it a tick later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serin_controller::cells::Grid;
use serin_controller::rollout::Phase;
use tokio::time::sleep;

use super::population::{Member, NAMESPACES, create, members};
use super::prometheus::Stub;
use super::prometheus::fleet::Fleet;
use super::seen::{Seen, Watching, Writes};
use super::usage::Usage;
use super::{Finding, Size, ms};
use crate::bench::rounds::Series;
use crate::cluster::control_plane::{ControlPlane, Crds, SERIN, Setup};
use crate::cluster::objects;
use crate::exposition::{self, Sample};
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// The installation's defaults, as [`GRID_ARGUMENTS`] says once more.
const CELL: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
const GRID_ARGUMENTS: [&str; 6] = ["--tick", "1s", "--cell", "30s", "--lag", "30s"];

/// Name of what is compared with Flagger's.
pub const CPU: &str = "CPU of the controller";
/// Likewise.
pub const MEMORY: &str = "resident memory in steady state";
/// Likewise.
pub const REVERTED: &str = "all others turned bad at once to weight 0 written, p50";

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the last releases may take to lose their weight.
const AT_ONCE_LIMIT: Duration = Duration::from_secs(60);
/// Prometheus scrapes the controller, too.
const SCRAPE: Duration = Duration::from_secs(15);
/// How long after the last write the controller counts as settled.
const CALM: Duration = Duration::from_secs(3);
/// Any: it makes the faults of two runs the same.
const SEED: u64 = 6;

/// Everything that runs. The order is that in which it ends.
struct Cluster {
    controller: Process,
    metrics: String,
    fleet: Arc<Fleet>,
    stub: Stub,
    watching: Watching,
    size: Size,
    _control_plane: ControlPlane,
}

/// What stood somewhere at a moment.
struct Look {
    usage: Usage,
    queries: u64,
    samples: Vec<Sample>,
}

/// Measures; `told` hears of each step.
///
/// # Errors
/// When something cannot be started, or the controller does not come to rest.
pub async fn measure(size: Size, told: &impl Fn(&str)) -> Result<Vec<Finding>> {
    let members = members(size.rollouts, size.progressing);
    let (mut cluster, settling) = Cluster::start(&members, size, told).await?;
    let mut findings = vec![Finding::told(
        &format!("first start to {} rollouts routed", size.rollouts),
        settling.as_secs_f64(),
        "s",
    )];
    findings.extend(cluster.steady(told).await?);
    findings.extend(cluster.faults(&members, told).await?);
    if let Some(query) = cluster.stub.unknown() {
        bail!("the controller asked what the bench does not know: {query}");
    }
    Ok(findings)
}

impl Cluster {
    async fn start(
        members: &[Member],
        size: Size,
        told: &impl Fn(&str),
    ) -> Result<(Cluster, Duration)> {
        let programs = tokio::task::spawn_blocking(tools::programs)
            .await
            .context("the build ended in a panic")??;
        let world = World::new("bench-scale")?;
        let control_plane = ControlPlane::start(&world, Setup::default()).await?;
        control_plane.install_crds(&[Crds::Istio]).await?;
        for namespace in ["istio-system", "serin-system"] {
            control_plane.namespace(namespace).await?;
        }
        for member in members.iter().take(NAMESPACES) {
            control_plane.namespace(&member.namespace).await?;
        }
        let client = control_plane.client().await?;
        let manifests = tools::repository().join("manifests/base");
        for file in ["crd.yaml", "rbac.yaml"] {
            objects::apply_all(&client, objects::read_file(&manifests.join(file))?).await?;
        }
        told(&format!("scale: making {} rollouts", members.len()));
        create(&client, members, Grid::new(CELL, CELL)?).await?;
        let watching = Watching::start(&client);
        let fleet = Arc::new(Fleet::new(members, CELL, watching.seen()));
        let answers = Arc::clone(&fleet);
        let stub = Stub::start(move |query| answers.answer(query)).await?;
        let listen = format!("127.0.0.1:{}", ports::free()?);
        let kubeconfig = control_plane.kubeconfig(SERIN)?;
        let mut arguments = vec![
            "run".into(),
            "--kubeconfig".into(),
            kubeconfig.into_os_string(),
            "--prometheus".into(),
            stub.url().into(),
            "--wasm-url".into(),
            "file:///filter.wasm".into(),
            "--mode".into(),
            "namespaces".into(),
            "--listen".into(),
            listen.clone().into(),
        ];
        arguments.extend(GRID_ARGUMENTS.map(Into::into));
        told("scale: starting the controller");
        let begun = Instant::now();
        let controller = Process::start(&world, "serin", &programs.serin, arguments)
            .context("failed to start the controller")?;
        let mut cluster = Cluster {
            controller,
            metrics: format!("http://{listen}/metrics"),
            fleet,
            stub,
            watching,
            size,
            _control_plane: control_plane,
        };
        let settled = cluster.settle().await?;
        Ok((cluster, settled.duration_since(begun)))
    }

    fn seen(&self) -> &Seen {
        self.watching.seen()
    }

    /// Waits until every rollout is in a plugin and says where it stands, and nothing is written any more; since when.
    async fn settle(&mut self) -> Result<Instant> {
        let (seen, size) = (self.watching.seen().clone(), self.size);
        let mut last = None;
        wait::until(LIMIT, "the controller to come to rest", async || {
            self.controller.alive()?;
            let found = [
                seen.sections(),
                seen.in_phase(Phase::Progressing),
                seen.in_phase(Phase::Succeeded),
            ];
            let done = size.rollouts - size.progressing;
            if found != [size.rollouts, size.progressing, done] {
                bail!("in plugins, progressing, succeeded: {found:?}");
            }
            let writes = exposition::sum(&self.samples().await?, WRITES, &[]);
            let (before, since) = *last.get_or_insert((writes, Instant::now()));
            #[allow(clippy::float_cmp, reason = "counts")]
            if before != writes {
                last = Some((writes, Instant::now()));
                bail!("it still writes");
            }
            if since.elapsed() < CALM {
                bail!("it has only just written");
            }
            Ok(since)
        })
        .await
    }

    /// The controller's own metrics, without those of each rollout.
    async fn samples(&self) -> Result<Vec<Sample>> {
        let answer = reqwest::get(&self.metrics).await?.error_for_status()?;
        let text = answer.text().await?;
        let own = text
            .lines()
            .filter(|line| line.starts_with("serin_controller_"));
        exposition::parse(&own.collect::<Vec<_>>().join("\n"))
    }

    async fn look(&self) -> Result<Look> {
        let samples = self.samples().await?;
        Ok(Look {
            usage: Usage::of(&self.controller)?,
            queries: self.stub.queries(),
            samples,
        })
    }

    /// While nothing happens but that releases go on.
    async fn steady(&mut self, told: &impl Fn(&str)) -> Result<Vec<Finding>> {
        let steady = self.size.steady;
        told(&format!("scale: {} s of steady state", steady.as_secs()));
        let _ = self.seen().take_writes();
        let before = self.look().await?;
        let end = Instant::now() + steady;
        while Instant::now() < end {
            sleep(SCRAPE.min(end.saturating_duration_since(Instant::now()))).await;
            self.controller.alive()?;
            self.samples().await?;
        }
        let after = self.look().await?;
        Ok(findings(
            &before,
            &after,
            self.seen().take_writes(),
            self.fleet.sizes(),
        ))
    }

    /// Releases that turn bad, one by one and then all others at once.
    async fn faults(&mut self, members: &[Member], told: &impl Fn(&str)) -> Result<Vec<Finding>> {
        let mut random = StdRng::seed_from_u64(SEED);
        let progressing = members.iter().filter(|it| it.progressing);
        let mut rollouts: Vec<_> = progressing.map(Member::id).collect();
        rollouts.shuffle(&mut random);
        let rest = rollouts.split_off(self.size.faults.min(rollouts.len()));
        told(&format!("scale: {} releases turn bad", rollouts.len()));
        for rollout in &rollouts {
            self.fleet.turn_bad(std::slice::from_ref(rollout));
            // At any moment of a tick, and seldom enough for each to be alone.
            sleep(random.random_range(TICK..3 * TICK / 2)).await;
        }
        self.reverted(&rollouts, LIMIT).await?;
        let mut findings = Vec::new();
        let bound = ms(TICK) + 500.0;
        let [from_turned, from_told] = self.times(&rollouts);
        let name = "fault visible in Prometheus to weight 0 written";
        findings.extend(Finding::quantiles(name, &from_turned, [None, Some(bound)]));
        let name = "first answer that shows it to weight 0 written";
        findings.extend(Finding::quantiles(name, &from_told, [None, None]));
        told(&format!("scale: the other {} turn bad", rest.len()));
        self.fleet.turn_bad(&rest);
        // How many made it in time is told below.
        self.reverted(&rest, AT_ONCE_LIMIT).await.ok();
        let [from_turned, _] = self.times(&rest);
        findings.push(Finding::told(
            "releases that turn bad at once",
            rest.len() as f64,
            "releases",
        ));
        findings.push(Finding::told(REVERTED, from_turned.median(), "ms"));
        findings.push(Finding::told(
            &format!("of them taken back within {} s", AT_ONCE_LIMIT.as_secs()),
            from_turned.0.len() as f64,
            "releases",
        ));
        let usage = Usage::of(&self.controller)?;
        findings.push(Finding::told(
            "resident memory in the end",
            usage.resident,
            "MiB",
        ));
        findings
            .push(Finding::told("resident memory at the most", usage.peak, "MiB").at_most(400.0));
        Ok(findings)
    }

    async fn reverted(&mut self, rollouts: &[String], limit: Duration) -> Result<()> {
        let seen = self.watching.seen().clone();
        wait::until(limit, "every bad release to lose its weight", async || {
            self.controller.alive()?;
            let left = rollouts.iter().filter(|it| weight(&seen, it) != Some(0));
            match left.count() {
                0 => Ok(()),
                left => bail!("{left} still have theirs"),
            }
        })
        .await
    }

    /// Times to weight 0: from when it could be seen, and from when Prometheus first said so.
    fn times(&self, rollouts: &[String]) -> [Series; 2] {
        let mut series = [Series::default(), Series::default()];
        for rollout in rollouts {
            let share = self.seen().share(rollout);
            let (Some((0, at)), Some(fault)) = (share, self.fleet.fault(rollout)) else {
                continue;
            };
            let told = fault.told.unwrap_or(fault.turned);
            series[0].0.push(ms(at.duration_since(fault.turned)));
            series[1].0.push(ms(at.saturating_duration_since(told)));
        }
        series
    }
}

fn weight(seen: &Seen, rollout: &str) -> Option<u16> {
    seen.share(rollout).map(|(share, _)| share)
}

const WRITES: &str = "serin_controller_api_writes_total";

fn findings(before: &Look, after: &Look, writes: Writes, rows: [usize; 3]) -> Vec<Finding> {
    let since = |name: &str| {
        let sum = |look: &Look| exposition::sum(&look.samples, name, &[]);
        sum(after) - sum(before)
    };
    let seconds = after.usage.time_since(&before.usage).as_secs_f64();
    let ticks = since("serin_controller_tick_seconds_count");
    let cpu = after.usage.cpu_since(&before.usage);
    let [window, cell, proxies] = rows.map(|rows| rows as f64);
    let asked = (after.queries - before.queries) as f64;
    vec![
        Finding::told("ticks a second", ticks / seconds, "1/s"),
        Finding::told(
            "time of a tick's decisions, by its own metric",
            1e3 * since("serin_controller_tick_seconds_sum") / ticks,
            "ms",
        ),
        Finding::told(
            "CPU time of the controller a tick, all of it",
            ms(cpu) / ticks,
            "ms",
        )
        .at_most(1_000.0),
        Finding::told(CPU, after.usage.percent_since(&before.usage), "% of a core"),
        Finding::told("Prometheus queries a tick", asked / ticks, "queries").at_most(6.0),
        Finding::told("rows that a guard's window has", window, "rows"),
        Finding::told("rows that a cell has", cell, "rows"),
        Finding::told("rows that the proxies have", proxies, "rows"),
        Finding::told("writes to the API server", since(WRITES) / seconds, "1/s"),
        Finding::told(
            "status writes at checkpoints",
            writes.checkpoints as f64,
            "writes",
        ),
        Finding::told(
            "status writes at transitions",
            writes.transitions as f64,
            "writes",
        ),
        Finding::told(
            "checkpoints less than 60 s after the write before",
            writes.early as f64,
            "writes",
        )
        .at_most(0.0),
        Finding::told(MEMORY, after.usage.resident, "MiB"),
    ]
}
