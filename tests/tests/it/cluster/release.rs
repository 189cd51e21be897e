//! Releases in a cluster, from the resource to the requests of users.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serin_controller::rollout::Phase;
use serin_tests::cluster::mesh::{HOST, Mesh, rollout};
use serin_tests::tally::Tally;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::upstream::Behaviour;

/// Requests a second at each entrance.
const RATE: f64 = 120.0;
const USERS: u64 = 2_000;

/// Traffic of the same users through the gateway and through the caller's sidecar.
pub(super) struct Callers([Traffic; 2]);

impl Callers {
    pub(super) fn start(mesh: &Mesh) -> Callers {
        Callers(mesh.entrances.map(|entrance| {
            let calls = (0..).map(|i: u64| call(i.wrapping_mul(7_919) % USERS));
            Traffic::start(Plan::open(entrance, RATE), calls).unwrap()
        }))
    }

    pub(super) async fn stop(self) -> [Tally; 2] {
        let [gateway, sidecar] = self.0;
        [gateway.stop().await.unwrap(), sidecar.stop().await.unwrap()]
    }
}

fn call(user: u64) -> Call {
    Call {
        user,
        host: HeaderValue::from_static(HOST),
        path: "/v2/models/fraud/infer".to_owned(),
        headers: vec![(
            HeaderName::from_static("x-user-id"),
            HeaderValue::from_str(&user.to_string()).unwrap(),
        )],
        body: Bytes::new(),
    }
}

/// Two steps with wide gates, so that seconds of traffic pass them.
pub(super) const CANARY: &str = "canary: {steps: [{weight: 20, gate: {ratio: 3, absolute: 5pp}}, {weight: 50, gate: {ratio: 3, absolute: 5pp}}], soak: 2s}";

#[tokio::test]
async fn a_good_version_goes_live_through_gateway_and_sidecar() {
    let mesh = Mesh::start("cluster-good", &["7", "8"], &[]).await.unwrap();
    let callers = Callers::start(&mesh);
    mesh.apply(&rollout(CANARY, "")).await.unwrap();
    let ended = mesh
        .until("fraud", "the end of the release", |status| {
            matches!(status.phase, Some(Phase::Succeeded | Phase::RolledBack))
        })
        .await
        .unwrap();
    assert_eq!(ended.phase, Some(Phase::Succeeded), "{:?}", ended.message);
    assert_eq!(ended.live.unwrap().version, "8");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for tally in callers.stop().await {
        assert_eq!(tally.total().bad, 0, "no user saw an error");
        assert!(tally.reached("8").requests > 0, "users reached version 8");
    }
    mesh.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_version_is_thrown_out_and_nobody_reaches_it_afterwards() {
    let mesh = Mesh::start("cluster-bad", &["7", "8"], &[]).await.unwrap();
    let callers = Callers::start(&mesh);
    let canary = &mesh.versions["8"];
    canary.set(Behaviour {
        status: hyper::StatusCode::SERVICE_UNAVAILABLE,
        ..Behaviour::default()
    });
    mesh.apply(&rollout(CANARY, "  fuse: {enabled: false}"))
        .await
        .unwrap();
    let ended = mesh
        .until("fraud", "the end of the release", |status| {
            matches!(status.phase, Some(Phase::Succeeded | Phase::RolledBack))
        })
        .await
        .unwrap();
    assert_eq!(ended.phase, Some(Phase::RolledBack), "{:?}", ended.message);
    assert_eq!(ended.live.unwrap().version, "7");
    // The proxies hear of it through istiod, and the numbers stand still from then on.
    let mut seen = canary.requests();
    serin_tests::wait::until(
        Duration::from_secs(30),
        "the last request of version 8",
        async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = canary.requests();
            let still = now == seen;
            seen = now;
            if still {
                return Ok(());
            }
            anyhow::bail!("it still gets requests")
        },
    )
    .await
    .unwrap();
    callers.stop().await;
    mesh.stop().await.unwrap();
}
