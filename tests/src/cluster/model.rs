//! Models in a mesh, several in one: each has a host, versions behind it, traffic, and a rollout of its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use super::istio::Service;
use super::mesh::{MODELS, Mesh, rollout_of};
use super::objects;
use crate::tally::Tally;
use crate::traffic::{Call, Plan, Traffic, VERSION_HEADER};
use crate::upstream::{Behaviour, Upstream};
use crate::wait;

/// Requests a second at each entrance: little enough for a dozen models at once on two cores.
const RATE: f64 = 40.0;
/// Enough for answers that take 100 ms.
const CONNECTIONS: usize = 8;
const USERS: u64 = 2_000;
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A model under traffic.
#[derive(Debug)]
pub struct Model {
    /// Its name, which is that of its rollout.
    pub name: String,
    /// Its versions, by name. They live in the runtime of the test.
    pub versions: BTreeMap<String, Upstream>,
    service: Service,
    traffic: Vec<Traffic>,
}

impl Model {
    /// Starts the versions, and tells the mesh of them. Without a route every version gets its share of the requests, so
    /// users come later ([`Model::open`]).
    ///
    /// # Errors
    /// When a version cannot be started, or the API server refuses its service.
    pub async fn start(mesh: &Mesh, name: &str, versions: &[&str]) -> Result<Model> {
        let mut upstreams = BTreeMap::new();
        for version in versions {
            upstreams.insert((*version).to_owned(), Upstream::start(version).await?);
        }
        let service = Service {
            namespace: MODELS.to_owned(),
            host: format!("{name}.{MODELS}.svc.cluster.local"),
            port: mesh.port,
            subsets: Vec::new(),
        };
        let mut model = Model {
            name: name.to_owned(),
            versions: upstreams,
            service,
            traffic: Vec::new(),
        };
        let all: Vec<_> = versions.iter().map(|version| (*version, 1)).collect();
        model.set_endpoints(mesh, &all).await?;
        Ok(model)
    }

    /// Waits until the proxies run the rollout, as a controller sees it.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn is_carried(&self, mesh: &Mesh, controller: &str) -> Result<()> {
        wait::until(LIMIT, "the proxies to run the rollout", async || {
            let shown = mesh.report(controller, &self.name).await?;
            let release = shown.release.context("there is no release yet")?;
            let all = mesh.entrances.len();
            ensure!(release.proxies == Some((all, all)), "{}", shown.message);
            Ok(())
        })
        .await
    }

    /// Lets users ask, always the same ones, through the gateway and through the sidecar of a caller.
    ///
    /// # Errors
    /// When the traffic cannot be started.
    pub fn open(&mut self, mesh: &Mesh) -> Result<()> {
        for entrance in mesh.entrances {
            let plan = Plan {
                connections: CONNECTIONS,
                ..Plan::open(entrance, RATE)
            };
            let call = self.call()?;
            let calls = (0..).map(move |i: u64| {
                let user = i.wrapping_mul(7_919) % USERS;
                let id = HeaderValue::from(user);
                Call {
                    user,
                    headers: vec![(HeaderName::from_static("x-user-id"), id)],
                    ..call.clone()
                }
            });
            self.traffic.push(Traffic::start(plan, calls)?);
        }
        Ok(())
    }

    fn call(&self) -> Result<Call> {
        Ok(Call {
            user: 0,
            host: HeaderValue::from_str(&self.service.host).context("a host is a header")?,
            path: self.path(),
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }

    fn path(&self) -> String {
        format!("/v2/models/{}/infer", self.name)
    }

    /// Its service and subsets, for routes of a user's own.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// How many ready endpoints each version has; one that is not named has none.
    ///
    /// # Errors
    /// When there is no such version, or the API server refuses.
    pub async fn set_endpoints(&mut self, mesh: &Mesh, endpoints: &[(&str, usize)]) -> Result<()> {
        let mut subsets = Vec::new();
        for (version, count) in endpoints {
            let upstream = self.versions.get(*version);
            let port = upstream
                .context("there is no such version")?
                .address()
                .port();
            subsets.extend(std::iter::repeat_n((format!("v{version}"), port), *count));
        }
        self.service.subsets = subsets;
        let client = mesh.control_plane.client().await?;
        objects::apply(&client, self.service.entry()).await?;
        Ok(())
    }

    /// A rollout of version 8 beside version 7 with this strategy, in one line, and further lines of the spec.
    #[must_use]
    pub fn rollout(&self, strategy: &str, more: &str) -> String {
        rollout_of(&self.name, strategy, more)
    }

    /// Lets a version answer every request with an error, or well again.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn breaks(&self, version: &str, broken: bool) {
        let status = if broken {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        self.versions[version].set(Behaviour {
            status,
            ..Behaviour::default()
        });
    }

    /// The version that answers one request with further headers.
    ///
    /// # Errors
    /// When nobody answers, or no version did.
    pub async fn asked(&self, entrance: SocketAddr, headers: &[(&str, &str)]) -> Result<String> {
        let url = format!("http://{entrance}{}", self.path());
        let mut request = reqwest::Client::new()
            .get(url)
            .header("host", &self.service.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.context("failed to ask a model")?;
        let version = answer.headers().get(VERSION_HEADER);
        let version = version.with_context(|| format!("no version: {}", answer.status()))?;
        Ok(version.to_str()?.to_owned())
    }

    /// What the users of both entrances saw so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Tally> {
        self.traffic.iter().map(Traffic::snapshot).collect()
    }

    /// No more traffic; what the users of both entrances saw.
    ///
    /// # Errors
    /// When no connection could be made at all.
    pub async fn close(&mut self) -> Result<Vec<Tally>> {
        let mut tallies = Vec::new();
        for traffic in self.traffic.drain(..) {
            tallies.push(traffic.stop().await?);
        }
        Ok(tallies)
    }
}
