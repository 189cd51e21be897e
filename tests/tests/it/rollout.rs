//! Rollouts on a whole installation: real controller, Envoy and Prometheus; the model servers are stand-ins.

mod choice;
mod command_line;
pub(crate) mod evidence;
mod fuse;
mod outage;
mod release;
mod strategies;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serin_controller::report::Status;
use serin_tests::installation::Installation;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::upstream::Upstream;
use serin_tests::wait;
use serin_tests::world::World;

const FILE: &str = "fraud.yaml";
const USERS: u64 = 4_000;
/// Requests a second: enough for a verdict in seconds, little enough for several tests at once on two cores.
const RATE: f64 = 250.0;
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// An installation before two versions, under traffic.
struct Bench {
    installation: Installation,
    canary: Upstream,
    _stable: Upstream,
    /// Version 9, which no variant names.
    shadow: Upstream,
    traffic: Traffic,
}

impl Bench {
    async fn start(name: &str, rollout: &str) -> Bench {
        let world = World::new(name).unwrap();
        let (stable, canary, shadow) = (
            Upstream::start("7").await.unwrap(),
            Upstream::start("8").await.unwrap(),
            Upstream::start("9").await.unwrap(),
        );
        let clusters = BTreeMap::from([
            ("fraud-v7".to_owned(), stable.address().port()),
            ("fraud-v8".to_owned(), canary.address().port()),
            ("fraud-v9".to_owned(), shadow.address().port()),
        ]);
        let installation = Installation::start(world, 2, clusters, &[(FILE, rollout)])
            .await
            .unwrap();
        let plan = Plan::open(installation.envoy.address(), RATE);
        let traffic = Traffic::start(
            plan,
            (0..).map(|i: u64| call(i.wrapping_mul(7_919) % USERS)),
        )
        .unwrap();
        Bench {
            installation,
            canary,
            _stable: stable,
            shadow,
            traffic,
        }
    }

    async fn status(&self) -> Status {
        self.installation.status("ml", "fraud").await.unwrap()
    }

    /// Waits for a status that `accept` likes.
    #[track_caller]
    fn until(&self, what: &str, accept: impl Fn(&Status) -> bool) -> impl Future<Output = Status> {
        let what = what.to_owned();
        async move {
            let found = wait::until(LIMIT, &what, async || {
                let status = self.installation.status("ml", "fraud").await?;
                if accept(&status) {
                    Ok(status)
                } else {
                    anyhow::bail!("it is {:?}: {}", status.phase, status.message)
                }
            });
            found.await.unwrap()
        }
    }

    /// Ends everything and returns what the users saw.
    async fn stop(self) -> serin_tests::tally::Tally {
        let tally = self.traffic.stop().await.unwrap();
        self.installation.stop().await.unwrap();
        tally
    }
}

fn call(user: u64) -> Call {
    Call {
        user,
        host: HeaderValue::from_static("fraud.ml"),
        path: "/v2/models/fraud/infer".to_owned(),
        headers: vec![(
            HeaderName::from_static("x-user-id"),
            HeaderValue::from_str(&user.to_string()).unwrap(),
        )],
        body: Bytes::new(),
    }
}

/// A rollout file with these steps and this soak; gates are wide, so that seconds of traffic pass them.
fn rollout(steps: &str, soak: &str) -> String {
    format!(
        "apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: fraud, namespace: ml}}
spec:
  match:
    hosts: [fraud.ml]
    pathPrefix: /v2/models/fraud
  variants:
    - {{name: stable, role: stable, version: \"7\", route: {{cluster: fraud-v7}}}}
    - {{name: canary, version: \"8\", route: {{cluster: fraud-v8}}}}
  assignment:
    key: [{{header: x-user-id}}]
    salt: fraud-8
  strategy:
    canary:
      steps:
{steps}
      soak: {soak}
"
    )
}

/// One step that waits for approval, however good the evidence.
fn held() -> String {
    rollout(
        "        - {weight: 20, gate: {ratio: 3, absolute: 5pp}, pause: {approval: true}}",
        "1s",
    )
}

fn canary_requests(status: &Status) -> u64 {
    status
        .release
        .as_ref()
        .map_or(0, |release| release.canary().requests.total)
}

fn weight(status: &Status) -> f64 {
    status
        .release
        .as_ref()
        .map_or(0.0, |release| release.canary().weight)
}
