//! A whole installation in a cluster with every part real: API server, istiod, a gateway and the sidecar of a caller,
//! Prometheus, and the controller with no more rights than the manifests give it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use serin_controller::api::status::RolloutStatus;
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::plugin;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::endpoint::Snapshot;
use serin_controller::report::Status;
use serin_controller::rollout::RolloutState;

use super::control_plane::{ControlPlane, Crds, DEV, SERIN, Setup};
use super::istio::{self, Service};
use super::istiod::{Istiod, ROOT_NAMESPACE};
use super::mesh_proxy::{MeshProxy, Node};
use super::objects;
use crate::process::Process;
use crate::prometheus::{Prometheus, Target};
use crate::upstream::Upstream;
use crate::wait;
use crate::world::World;
use crate::{exposition, ports, tools};

/// Scraping every second, with cells and lag of two: what makes a test quick, and honest.
const SCRAPE: Duration = Duration::from_secs(1);
const GRID: [&str; 4] = ["--cell", "2s", "--lag", "2s"];

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Namespace of the model and of the caller.
pub const MODELS: &str = "ml";
/// Namespace of the gateway.
pub const GATEWAYS: &str = "istio-ingress";
/// Namespace of the controller.
pub const INSTALLATION: &str = "serin-system";
/// The controller, where there is one.
pub const CONTROLLER: &str = "serin-0";
/// Host of the model.
pub const HOST: &str = "fraud.ml.svc.cluster.local";

/// A running controller, and where it answers.
#[derive(Debug)]
struct Controller {
    process: Process,
    endpoint: String,
}

/// Everything that runs. Dropped, it is gone, folder and all.
#[derive(Debug)]
pub struct Mesh {
    /// The API server and what it needs.
    pub control_plane: ControlPlane,
    /// Who tells the proxies.
    pub istiod: Istiod,
    /// The way in from outside.
    pub gateway: MeshProxy,
    /// The proxy of a caller.
    pub sidecar: MeshProxy,
    /// What the controller reads.
    pub prometheus: Prometheus,
    /// The versions, by name, where the mesh has started them.
    pub versions: BTreeMap<String, Upstream>,
    /// Where requests enter the gateway and the sidecar.
    pub entrances: [SocketAddr; 2],
    /// The port of every model's service.
    pub port: u16,
    controllers: BTreeMap<String, Controller>,
    settings: Vec<String>,
    programs: tools::Programs,
    filter: PathBuf,
    // Last: the folder goes when everything in it has ended.
    world: World,
}

impl Mesh {
    /// Starts everything but a rollout, with these versions of the model, and a controller with further settings.
    ///
    /// # Errors
    /// When a part is not there, ends early, or is not ready in time.
    pub async fn start(name: &str, versions: &[&str], settings: &[&str]) -> Result<Mesh> {
        let mut mesh = Mesh::without_controller(name, versions, settings).await?;
        mesh.start_controller(CONTROLLER, &[]).await?;
        Ok(mesh)
    }

    /// One for all tests that run at the same time in this process, for those that bring their own
    /// [`Model`](super::model::Model)s and stop nothing.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub async fn shared() -> Result<Arc<Mesh>> {
        // Weak: the last test that holds it ends it. A static value would never be dropped, and would outlive us all.
        static SHARED: tokio::sync::Mutex<Weak<Mesh>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Mesh::start("cluster", &["7"], &[]).await?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// The same without a controller.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub async fn without_controller(
        name: &str,
        versions: &[&str],
        settings: &[&str],
    ) -> Result<Mesh> {
        let mut upstreams = BTreeMap::new();
        for version in versions {
            upstreams.insert((*version).to_owned(), Upstream::start(version).await?);
        }
        let ports = upstreams
            .iter()
            .map(|(version, upstream)| (version.clone(), upstream.address().port()))
            .collect();
        let mut mesh = Mesh::around(World::new(name)?, ports, settings).await?;
        mesh.versions = upstreams;
        Ok(mesh)
    }

    /// The same around versions of the model that run already: their ports by name.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub async fn around(
        world: World,
        versions: BTreeMap<String, u16>,
        settings: &[&str],
    ) -> Result<Mesh> {
        let (programs, filter) =
            tokio::task::spawn_blocking(|| anyhow::Ok((tools::programs()?, tools::filter()?)))
                .await
                .context("the build ended in a panic")??;
        let control_plane = ControlPlane::start(&world, Setup::default()).await?;
        control_plane.install_crds(&[Crds::Istio]).await?;
        let client = control_plane.client().await?;
        for namespace in [MODELS, GATEWAYS, INSTALLATION, "istio-system"] {
            control_plane.namespace(namespace).await?;
        }
        let manifests = tools::repository().join("manifests/base");
        for file in ["crd.yaml", "rbac.yaml"] {
            objects::apply_all(&client, objects::read_file(&manifests.join(file))?).await?;
        }
        control_plane.apply(DEV_MAY_OPERATE).await?;

        let service = Service {
            namespace: MODELS.to_owned(),
            host: HOST.to_owned(),
            port: ports::free()?,
            subsets: versions
                .into_iter()
                .map(|(version, port)| (format!("v{version}"), port))
                .collect(),
        };
        let entry = ports::free()?;
        let objects = vec![
            service.entry(),
            istio::gateway(GATEWAYS, "ingress", "gateway", entry, &["*"]),
        ];
        objects::apply_all(&client, objects).await?;
        let istiod = Istiod::start(&world, &control_plane, &[]).await?;
        let gateway = MeshProxy::start(&world, &istiod, Node::gateway(GATEWAYS, "gateway")).await?;
        let sidecar = MeshProxy::start(&world, &istiod, Node::sidecar(MODELS, "caller")).await?;
        let entrances = [
            gateway.listening(entry).await?,
            sidecar.listening(service.port).await?,
        ];
        let targets = [(&gateway, GATEWAYS), (&sidecar, MODELS)].map(|(proxy, namespace)| Target {
            address: proxy.admin_address(),
            labels: BTreeMap::from([("namespace".to_owned(), namespace.to_owned())]),
        });
        let port = ports::free()?;
        let prometheus = Prometheus::start_with(&world, port, SCRAPE, &targets).await?;
        wait::until(LIMIT, "the first scrapes", async || {
            let scraped = prometheus.query("count_over_time(up[1m]) > 3").await?;
            if scraped.len() < 2 {
                bail!("not every proxy has been scraped for a cell")
            }
            Ok(())
        })
        .await?;
        Ok(Mesh {
            control_plane,
            istiod,
            gateway,
            sidecar,
            prometheus,
            versions: BTreeMap::new(),
            entrances,
            port: service.port,
            controllers: BTreeMap::new(),
            settings: settings.iter().map(|&it| it.to_owned()).collect(),
            programs,
            filter,
            world,
        })
    }

    /// Starts a controller under a name of its own, with further variables, and waits until it answers; it need not lead.
    ///
    /// # Errors
    /// When it cannot be started, or ends at once.
    pub async fn start_controller(&mut self, name: &str, variables: &[(&str, &str)]) -> Result<()> {
        self.spawn_controller(name, variables)?;
        let url = format!("{}/healthz", self.endpoint(name)?);
        let controller = self.controllers.get_mut(name).context("it is gone")?;
        wait::until(LIMIT, "the controller to answer", async || {
            controller.process.alive()?;
            reqwest::get(&url).await?.error_for_status()?;
            Ok(())
        })
        .await
    }

    /// The same without waiting, for one that may end before it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_controller(&mut self, name: &str, variables: &[(&str, &str)]) -> Result<()> {
        let port = ports::free()?;
        let mut arguments = vec![
            "run".to_owned(),
            "--kubeconfig".to_owned(),
            text(&self.control_plane.kubeconfig(SERIN)?)?,
            "--prometheus".to_owned(),
            self.prometheus.url(),
            "--wasm-url".to_owned(),
            format!("file://{}", self.filter.display()),
            "--identity".to_owned(),
            name.to_owned(),
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
        ];
        arguments.extend(GRID.map(str::to_owned));
        arguments.extend(self.settings.iter().cloned());
        let process = Process::start_with(
            &self.world,
            name,
            &self.programs.serin,
            arguments,
            variables,
        )
        .context("failed to start the controller")?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let controller = Controller { process, endpoint };
        self.controllers.insert(name.to_owned(), controller);
        Ok(())
    }

    fn endpoint(&self, name: &str) -> Result<&str> {
        let controller = self.controllers.get(name);
        let controller = controller.context("there is no such controller")?;
        Ok(&controller.endpoint)
    }

    /// The sum of a metric of a controller over the series with these labels.
    ///
    /// # Errors
    /// When there is no such controller, or it does not answer.
    pub async fn controller_metric(
        &self,
        name: &str,
        metric: &str,
        labels: &[(&str, &str)],
    ) -> Result<f64> {
        let url = format!("{}/metrics", self.endpoint(name)?);
        let text = reqwest::get(url).await?.error_for_status()?.text().await?;
        let samples = exposition::parse(&text)?;
        let of = samples.iter().filter(|it| it.is(metric, labels));
        Ok(of.map(|it| it.value).sum())
    }

    /// A running controller.
    pub fn controller(&mut self, name: &str) -> Option<&mut Process> {
        Some(&mut self.controllers.get_mut(name)?.process)
    }

    /// What a controller's endpoint says of a rollout.
    ///
    /// # Errors
    /// When it does not answer, or knows no such rollout.
    pub async fn report(&self, controller: &str, rollout: &str) -> Result<Status> {
        let url = format!("{}/v1/rollouts", self.endpoint(controller)?);
        let answer = reqwest::get(url).await?.error_for_status()?;
        let snapshot: Snapshot = answer.json().await?;
        let mut found = snapshot.rollouts.into_iter();
        found
            .find(|it| it.name.namespace == MODELS && it.name.name == rollout)
            .with_context(|| format!("unknown: {}", snapshot.problems.join("; ")))
    }

    /// Ends a controller as a crash would.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill_controller(&mut self, name: &str) -> Result<()> {
        if let Some(controller) = self.controllers.remove(name) {
            controller.process.kill().await?;
        }
        Ok(())
    }

    /// Ends a controller in order.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn stop_controller(&mut self, name: &str) -> Result<()> {
        if let Some(controller) = self.controllers.remove(name) {
            controller.process.stop().await?;
        }
        Ok(())
    }

    /// Applies a resource as somebody who owns models.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, resource: &str) -> Result<()> {
        let client = self.control_plane.client_as(DEV).await?;
        objects::apply_all(&client, objects::read(resource)?).await
    }

    /// The resources of the models' namespace.
    ///
    /// # Errors
    /// When there is no client.
    pub async fn rollouts(&self) -> Result<Api<ModelRollout>> {
        Ok(Api::namespaced(self.control_plane.client().await?, MODELS))
    }

    /// A resource's status.
    ///
    /// # Errors
    /// When there is no such resource, or it has no status yet.
    pub async fn status(&self, name: &str) -> Result<RolloutStatus> {
        let resource = self.rollouts().await?.get(name).await?;
        resource.status.context("it has no status yet")
    }

    /// What the controller remembers of a rollout.
    ///
    /// # Errors
    /// As [`Mesh::status`], and when it cannot be understood.
    pub async fn state(&self, name: &str) -> Result<RolloutState> {
        let checkpoint = self.status(name).await?.checkpoint;
        Ok(serde_json::from_str(
            &checkpoint.context("it has no checkpoint")?,
        )?)
    }

    /// The plugin's object, as the API server has it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn plugin(&self) -> Result<Value> {
        let client = self.control_plane.client().await?;
        let id = plugin::id(Kind::TrafficExtension, ROOT_NAMESPACE);
        let (version, kind) = (id.kind.api_version(), id.kind.name());
        let api = objects::api(&client, version, kind, Some(&id.namespace)).await?;
        Ok(serde_json::to_value(api.get(&id.name).await?)?)
    }

    /// Waits for a status.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        accept: impl Fn(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        let api = self.rollouts().await?;
        wait::until(LIMIT, what, async || {
            let resource = api.get(name).await?;
            let status = resource.status.context("it has no status yet")?;
            if accept(&status) {
                return Ok(status);
            }
            let conditions: Vec<_> = status
                .conditions
                .iter()
                .map(|it| format!("{}={:?}: {}", it.kind, it.status, it.message))
                .collect();
            bail!(
                "it is {:?} at {:?}: {:?}; {}",
                status.phase,
                status.weight,
                status.message,
                conditions.join("; ")
            )
        })
        .await
    }

    /// Deletes a resource; it goes when its finalizer does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let api = self.rollouts().await?;
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Runs `serin` as somebody who owns models, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn serin(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.programs.serin);
        command
            .args(arguments)
            .env("KUBECONFIG", self.control_plane.kubeconfig(DEV)?)
            .env("NO_COLOR", "1")
            .kill_on_drop(true);
        command.output().await.context("failed to run serin")
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// When an end cannot be waited for.
    pub async fn stop(mut self) -> Result<()> {
        while let Some((_, controller)) = self.controllers.pop_first() {
            controller.process.stop().await?;
        }
        self.prometheus.down().await?;
        drop((self.gateway, self.sidecar, self.istiod));
        self.control_plane.stop().await
    }
}

/// What the owner of models may do in these tests.
const DEV_MAY_OPERATE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: dev}
rules:
  - {apiGroups: [serin.dev], resources: [modelrollouts], verbs: ['*']}
  - {apiGroups: [networking.istio.io], resources: ['*'], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: dev}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: dev}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
";

/// A rollout of version 8 beside version 7 with this strategy, in one line, and further lines of the spec.
#[must_use]
pub fn rollout(strategy: &str, more: &str) -> String {
    rollout_of("fraud", strategy, more)
}

/// The same of another model.
#[must_use]
pub fn rollout_of(model: &str, strategy: &str, more: &str) -> String {
    format!(
        "apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: {model}, namespace: {MODELS}}}
spec:
  match: {{hosts: [{model}.{MODELS}.svc.cluster.local], pathPrefix: /v2/models/{model}}}
  scope: [{MODELS}, {GATEWAYS}]
  route: {{gateways: [{GATEWAYS}/ingress, mesh]}}
  variants:
    - {{name: stable, role: stable, version: \"7\", route: {{subset: v7}}}}
    - {{name: canary, version: \"8\", route: {{subset: v8}}}}
  assignment:
    key: [{{header: x-user-id}}]
    salt: {model}-8
  strategy:
    {strategy}
{more}
"
    )
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| json!(path).to_string())?;
    Ok(text.to_owned())
}
