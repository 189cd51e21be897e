//! Flagger with as many canaries as Serin has releases in progress: what it uses, and how long a canary that turns bad
//! keeps its weight. With the limits of its client as they are, and with none to speak of.
//!
//! All canaries turn bad at once, and so do all but some of Serin's releases ([`scale`](super::scale)): these compare.
//! Flagger rolls back in the look after the one that saw the fault, so two of its intervals are the least it needs.

pub mod canaries;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;

use self::canaries::{Canaries, INTERVAL, NAMESPACE};
use super::prometheus::{Stub, scalar};
use super::usage::Usage;
use super::{Finding, Size};
use crate::cluster::control_plane::{ControlPlane, Crds, Setup};
use crate::cluster::identity::ADMIN;
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
/// Share of the canaries that must have traffic before it is measured; the last ones may take long.
const MOST: f64 = 0.95;

/// How many requests a second its client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// As many as it likes.
    Raised,
    /// As it comes.
    Defaults,
}

impl Limits {
    const ALL: [Limits; 2] = [Limits::Raised, Limits::Defaults];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Limits::Raised => &["-kubeconfig-qps=10000", "-kubeconfig-burst=20000"],
            Limits::Defaults => &[],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Limits::Raised => "Flagger, limits raised",
            Limits::Defaults => "Flagger, default limits",
        }
    }
}

/// Name of what is compared with Serin's.
pub const CPU: &str = "CPU";
/// Likewise.
pub const MEMORY: &str = "resident memory";
/// Likewise.
pub const REVERTED: &str = "fault to weight 0 written, p50 of those";

/// What is measured of each.
const MEASURED: [(&str, &str); 7] = [
    (CPU, "% of a core"),
    (MEMORY, "MiB"),
    ("Prometheus queries in 10 s", "queries"),
    ("canaries with traffic that turn bad at once", "canaries"),
    ("of them taken back in the window", "canaries"),
    (REVERTED, "ms"),
    ("fault to weight 0 written, p99 of those", "ms"),
];

/// Measures; `told` hears of each step. Where Flagger is not there, the numbers are none.
///
/// # Errors
/// When something cannot be started, or the canaries do not get going.
pub async fn measure(size: Size, told: &impl Fn(&str)) -> Result<Vec<Finding>> {
    if let Err(error) = tools::flagger() {
        told(&format!("Flagger is left out: {error:#}"));
        return Ok(Limits::ALL.into_iter().flat_map(findings_of_none).collect());
    }
    let mut cluster = Cluster::start(size, told).await?;
    let mut findings = Vec::new();
    for limits in Limits::ALL {
        // With its own limits it does not get so many canaries going in minutes: the other one does it for it.
        let flagger = cluster.flagger(Limits::Raised, "going")?;
        cluster.get_going(flagger, limits, told).await?;
        findings.extend(cluster.measure(limits, told).await?);
    }
    if let Some(query) = cluster.stub.unknown() {
        bail!("Flagger asked what the bench does not know: {query}");
    }
    Ok(findings)
}

fn findings_of_none(limits: Limits) -> Vec<Finding> {
    findings_of(limits, [f64::NAN; MEASURED.len()])
}

fn findings_of(limits: Limits, values: [f64; MEASURED.len()]) -> Vec<Finding> {
    let measured = MEASURED.into_iter().zip(values);
    measured
        .map(|((name, unit), value)| {
            Finding::told(&format!("{}: {name}", limits.name()), value, unit)
        })
        .collect()
}

/// Everything that runs.
struct Cluster {
    world: World,
    size: Size,
    canaries: Canaries,
    bad: Arc<AtomicBool>,
    stub: Stub,
    kubeconfig: OsString,
    _control_plane: ControlPlane,
}

impl Cluster {
    async fn start(size: Size, told: &impl Fn(&str)) -> Result<Cluster> {
        let world = World::new("bench-flagger")?;
        let control_plane = ControlPlane::start(&world, Setup::default()).await?;
        control_plane.install_crds(&[Crds::Istio]).await?;
        let client = control_plane.client().await?;
        // By kubectl: this YAML is none that a strict reader takes.
        let definitions = tools::flagger_crds()?;
        for verb in [&["create"][..], &["wait", "--for=condition=Established"]] {
            let arguments = verb.iter().map(OsStr::new);
            let arguments = arguments.chain([OsStr::new("-f"), definitions.as_os_str()]);
            let output = control_plane.kubectl(ADMIN, arguments).await?;
            ensure!(
                output.status.success(),
                "kubectl says of Flagger's definitions: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        control_plane.namespace(NAMESPACE).await?;
        let bad = Arc::new(AtomicBool::new(false));
        let turned = Arc::clone(&bad);
        let stub = Stub::start(move |query| answer(query, turned.load(Ordering::Relaxed))).await?;
        told(&format!("Flagger: making {} canaries", size.canaries));
        Ok(Cluster {
            canaries: Canaries::create(&client, size.canaries).await?,
            kubeconfig: control_plane.kubeconfig(ADMIN)?.into_os_string(),
            world,
            size,
            bad,
            stub,
            _control_plane: control_plane,
        })
    }

    fn flagger(&self, limits: Limits, log: &str) -> Result<Process> {
        let mut arguments: Vec<OsString> = [
            "-mesh-provider=istio",
            "-log-level=error",
            &format!("-metrics-server={}", self.stub.url()),
            &format!("-port={}", ports::free()?),
            "-kubeconfig",
        ]
        .map(OsString::from)
        .into();
        arguments.push(self.kubeconfig.clone());
        arguments.extend(limits.arguments().iter().map(OsString::from));
        Process::start(&self.world, log, &tools::flagger()?, arguments)
    }

    /// Releases a version of each canary, and waits until most have traffic.
    async fn get_going(
        &mut self,
        mut flagger: Process,
        limits: Limits,
        told: &impl Fn(&str),
    ) -> Result<()> {
        let number = self.size.canaries;
        let enough = (MOST * number as f64) as usize;
        self.bad.store(false, Ordering::Relaxed);
        if limits == Limits::Raised {
            told("Flagger: waiting for it to take over the deployments");
            wait::until(LIMIT, "Flagger to take over the deployments", async || {
                flagger.alive()?;
                sleep(Duration::from_secs(1)).await;
                match self.canaries.initialized().await? {
                    initialized if initialized >= enough => Ok(()),
                    initialized => bail!("{initialized} of {number} are"),
                }
            })
            .await?;
        }
        told("Flagger: releasing a version of each");
        self.canaries.release(limits.name()).await?;
        wait::until(LIMIT, "the canaries to get traffic", async || {
            flagger.alive()?;
            match self.canaries.with_traffic().len() {
                up if up >= enough => Ok(()),
                up => bail!("{up} of {number} have"),
            }
        })
        .await?;
        flagger.stop().await?;
        Ok(())
    }

    async fn measure(&mut self, limits: Limits, told: &impl Fn(&str)) -> Result<Vec<Finding>> {
        let name = limits.name();
        let mut flagger = self.flagger(limits, "flagger")?;
        let asked = self.stub.queries();
        wait::until(LIMIT, "Flagger to look at its canaries", async || {
            flagger.alive()?;
            // One is to see that Prometheus is there.
            match self.stub.queries() - asked {
                queries if queries > 10 => Ok(()),
                queries => bail!("it has asked {queries} times"),
            }
        })
        .await?;
        sleep(INTERVAL).await;
        told(&format!(
            "{name}: {:?} of steady state",
            self.size.steady_beside
        ));
        let (before, asked) = (Usage::of(&flagger)?, self.stub.queries());
        sleep(self.size.steady_beside).await;
        let (after, asked) = (Usage::of(&flagger)?, self.stub.queries() - asked);
        let seconds = after.time_since(&before).as_secs_f64();

        told(&format!("{name}: every canary turns bad"));
        let up = self.canaries.with_traffic();
        let turned = Instant::now();
        self.bad.store(true, Ordering::Relaxed);
        while turned.elapsed() < self.size.window
            && self.canaries.reverted(&up, turned).0.len() < up.len()
        {
            flagger.alive()?;
            sleep(Duration::from_millis(100)).await;
        }
        let reverted = self.canaries.reverted(&up, turned);
        flagger.stop().await?;
        Ok(findings_of(
            limits,
            [
                after.percent_since(&before),
                after.resident,
                asked as f64 * 10.0 / seconds,
                up.len() as f64,
                reverted.0.len() as f64,
                reverted.median(),
                reverted.quantile(0.99),
            ],
        ))
    }
}

/// What Prometheus says to Flagger's queries.
fn answer(query: &str, bad: bool) -> Option<String> {
    let value = if query.contains("vector(1)") {
        1.0
    } else if query.contains("istio_request_duration_milliseconds_bucket") {
        20.0
    } else if query.contains("istio_requests_total") {
        if bad { 10.0 } else { 99.9 }
    } else {
        return None;
    };
    Some(scalar(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flagger_asks_is_known() {
        let rate = r#"sum(rate(istio_requests_total{reporter="destination"}[1m])) * 100"#;
        assert_ne!(answer(rate, false), answer(rate, true));
        assert_eq!(answer("vector(1)", true), answer("vector(1)", false));
        assert!(answer("up", false).is_none());
    }

    #[test]
    fn without_flagger_every_number_is_none() {
        let findings = findings_of_none(Limits::Raised);
        assert_eq!(findings.len(), MEASURED.len());
        assert!(findings.iter().all(|it| it.value.is_nan()));
    }
}
