//! A weight that somebody sets, on its way through the controller, the API server and istiod to the first request on it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use serin_controller::cluster::names;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::rollout::{Action, Do};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

use super::seen::{Seen, Watching};
use super::{Finding, Size, ms};
use crate::bench::rounds::Series;
use crate::cluster::mesh::{HOST, MODELS, Mesh, rollout};
use crate::traffic::{Call, Plan, Traffic};
use crate::wait;

/// Requests a second at each entrance: a closed loop would take the CPU from istiod and Envoy, whose time is measured.
/// With half of the users on the new version the first of them comes within some 5 ms.
const RATE: f64 = 400.0;
const USERS: u64 = 2_000;
/// What the weights go up to and down from.
const PERCENT: f64 = 50.0;
const SHARE: u16 = 5_000;
/// How long nobody must have met the new version for a way down to be over.
const GONE: Duration = Duration::from_millis(500);
/// How long a change may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Names of the entrances, in their order.
const PROXIES: [&str; 2] = ["gateway", "sidecar"];

/// Answers of the new version at one entrance, as they come.
struct Entrance {
    answers: UnboundedReceiver<Instant>,
    _traffic: Traffic,
}

impl Entrance {
    fn start(address: std::net::SocketAddr) -> Result<Entrance> {
        let calls = (0_u64..).map(|number| call(number.wrapping_mul(7_919) % USERS));
        let (sender, answers) = mpsc::unbounded_channel();
        let traffic = Traffic::start_watched(Plan::open(address, RATE), calls, move |visit| {
            if visit.version() == Some("8") {
                // Who has stopped listening does not want to know.
                sender.send((visit.sent + visit.took).into_std()).ok();
            }
        })?;
        Ok(Entrance {
            answers,
            _traffic: traffic,
        })
    }

    async fn gone(&mut self) -> Result<()> {
        let begun = Instant::now();
        while timeout(GONE, self.answers.recv()).await.is_ok() {
            if begun.elapsed() > LIMIT {
                bail!("the new version still gets requests after {LIMIT:?}");
            }
        }
        Ok(())
    }

    async fn first(&mut self) -> Result<Instant> {
        let first = timeout(LIMIT, self.answers.recv()).await;
        let first = first.context("the new version gets no request")?;
        first.context("the traffic has ended")
    }
}

fn call(user: u64) -> Call {
    Call {
        user,
        host: HeaderValue::from_static(HOST),
        path: "/v2/models/fraud/infer".to_owned(),
        headers: vec![(
            HeaderName::from_static("x-user-id"),
            HeaderValue::from(user),
        )],
        body: Bytes::new(),
    }
}

/// What was measured, in milliseconds.
#[derive(Default)]
struct Times {
    asked_to_written: Series,
    written_to_request: [Series; 2],
    asked_to_request: [Series; 2],
}

/// Measures; `told` hears of each step.
///
/// # Errors
/// When something cannot be started, or a weight does not arrive.
pub async fn measure(size: Size, told: &impl Fn(&str)) -> Result<Vec<Finding>> {
    told("latency: starting a mesh");
    let mesh = Mesh::start("bench-latency", &["7", "8"], &[]).await?;
    mesh.apply(&rollout("manual: {}", "")).await?;
    let api = mesh.rollouts().await?;
    let watching = Watching::start(&mesh.control_plane.client().await?);
    let seen = watching.seen();
    share(seen, 0).await?;
    let [gateway, sidecar] = mesh.entrances;
    let mut entrances = [Entrance::start(gateway)?, Entrance::start(sidecar)?];
    let mut times = Times::default();
    told(&format!("latency: {} changes", size.changes));
    for number in 0..size.changes {
        for entrance in &mut entrances {
            entrance.gone().await?;
        }
        let asked = Instant::now();
        set_weight(&api, number * 2, PERCENT).await?;
        let written = share(seen, SHARE).await?;
        times.asked_to_written.0.push(ms(written - asked));
        for (position, entrance) in entrances.iter_mut().enumerate() {
            let first = entrance.first().await?;
            let from_written = ms(first.saturating_duration_since(written));
            times.written_to_request[position].0.push(from_written);
            times.asked_to_request[position].0.push(ms(first - asked));
        }
        set_weight(&api, number * 2 + 1, 0.0).await?;
        share(seen, 0).await?;
    }
    drop(entrances);
    mesh.stop().await?;
    let mut findings = Vec::new();
    let name = "weight asked for to weight written";
    findings.extend(Finding::quantiles(
        name,
        &times.asked_to_written,
        [None, None],
    ));
    for (position, proxy) in PROXIES.iter().enumerate() {
        let name = format!("weight written to first request on it, {proxy}");
        let series = &times.written_to_request[position];
        findings.extend(Finding::quantiles(&name, series, [Some(200.0), None]));
        let name = format!("weight asked for to first request on it, {proxy}");
        let series = &times.asked_to_request[position];
        findings.extend(Finding::quantiles(&name, series, [None, None]));
    }
    Ok(findings)
}

/// Asks as `serin set-weight` does.
async fn set_weight(api: &Api<ModelRollout>, number: usize, weight: f64) -> Result<()> {
    let action = Action {
        id: format!("bench-{number}"),
        what: Do::SetWeight,
        by: "bench".to_owned(),
        why: String::new(),
        seen: None,
        weight: Some(weight),
    };
    let action = serde_json::to_string(&action)?;
    let patch = json!({"metadata": {"annotations": {names::ACTION: action}}});
    let parameters = PatchParams::default();
    api.patch("fraud", &parameters, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

/// Waits until the API server shows a share; since when.
async fn share(seen: &Seen, wanted: u16) -> Result<Instant> {
    let name = format!("{MODELS}/fraud");
    wait::until(
        LIMIT,
        "the weight in the plugin's object",
        async || match seen.share(&name) {
            Some((share, since)) if share == wanted => Ok(since),
            found => bail!("it is {found:?}"),
        },
    )
    .await
}
