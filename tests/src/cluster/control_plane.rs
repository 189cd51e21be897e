//! etcd and kube-apiserver.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::identity::{ADMIN, Identity, User};
use super::objects;
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long either may take to start on a busy machine; alone they take three seconds.
const START: Duration = Duration::from_secs(120);

/// The user as whom Serin's controller runs in tests: the service account that the manifests name.
pub const SERIN: &str = "system:serviceaccount:serin-system:serin";

/// A person who owns models and may do what a test allows.
pub const DEV: &str = "dev";

/// What to run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who may come, beside [`ADMIN`].
    pub users: Vec<User>,
    /// Whether etcd waits for the disk at each write, as in production: for tests of what survives a crash. Everything
    /// else is faster without.
    pub fsync: bool,
    /// Further arguments of kube-apiserver, such as `--watch-cache=false`.
    pub arguments: Vec<String>,
}

impl Default for Setup {
    /// [`SERIN`] and [`DEV`], without fsync.
    fn default() -> Setup {
        Setup {
            users: vec![
                User::service_account("serin-system", "serin"),
                User::person(DEV),
            ],
            fsync: false,
            arguments: Vec::new(),
        }
    }
}

/// CRDs of others, which `make setup-cluster` fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crds {
    /// Istio's, all.
    Istio,
    /// `PodMonitor`, `ServiceMonitor` and `PrometheusRule` of the Prometheus operator.
    PrometheusOperator,
    /// KEDA's `ScaledObject`.
    Keda,
    /// KServe's `ClusterServingRuntime` and `InferenceService`.
    Kserve,
}

impl Crds {
    /// Those that the controller and its manifests know of.
    pub const CONTROLLER: [Crds; 3] = [Crds::Istio, Crds::PrometheusOperator, Crds::Keda];

    fn files(self) -> &'static [&'static str] {
        match self {
            Crds::Istio => &["crd-all.gen.yaml"],
            Crds::PrometheusOperator => &[
                "monitoring.coreos.com_podmonitors.yaml",
                "monitoring.coreos.com_prometheusrules.yaml",
                "monitoring.coreos.com_servicemonitors.yaml",
            ],
            Crds::Keda => &["keda.sh_scaledobjects.yaml"],
            Crds::Kserve => &[
                "serving.kserve.io_clusterservingruntimes.yaml",
                "serving.kserve.io_inferenceservices.yaml",
            ],
        }
    }
}

/// A running control plane; its parts may be down for a while, what etcd keeps stays.
#[derive(Debug)]
pub struct ControlPlane {
    world: World,
    setup: Setup,
    identity: Identity,
    port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
    // Ends before etcd does.
    api: Option<Process>,
    etcd: Option<Process>,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver, and waits until they serve.
    ///
    /// # Errors
    /// When one is not there, ends early (with the end of its log), or is not ready in time.
    pub async fn start(world: &World, setup: Setup) -> Result<ControlPlane> {
        let port = ports::free()?;
        let mut users = vec![User::admin()];
        users.extend(setup.users.iter().cloned());
        let url = format!("https://127.0.0.1:{port}");
        let identity = Identity::create(world.folder("identity")?, &url, users)?;
        let mut control_plane = ControlPlane {
            world: world.clone(),
            setup,
            identity,
            port,
            etcd_port: ports::free()?,
            etcd_peer_port: ports::free()?,
            api: None,
            etcd: None,
        };
        // The API server waits for etcd by itself.
        control_plane.spawn_etcd()?;
        control_plane.start_api().await?;
        Ok(control_plane)
    }

    /// A control plane with [`Crds::CONTROLLER`], for tests that stay within namespaces of their own
    /// ([`ControlPlane::namespace`]) and do not stop it: one for all tests that run at the same time in this process.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn shared() -> Result<Arc<ControlPlane>> {
        // Weak: the last test that holds it ends it. A static value would never be dropped, and would outlive us all.
        static SHARED: tokio::sync::Mutex<Weak<ControlPlane>> =
            tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let world = World::new("control-plane")?;
        let started = ControlPlane::start(&world, Setup::default()).await?;
        started.install_crds(&Crds::CONTROLLER).await?;
        let started = Arc::new(started);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// Where the API server answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A client that may do everything. It belongs to the runtime of the caller, so each test makes its own.
    ///
    /// # Errors
    /// When the client cannot be made; the API server is not asked.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(ADMIN).await
    }

    /// A client of one of the users.
    ///
    /// # Errors
    /// When there is no such user, or the client cannot be made; the API server is not asked.
    pub async fn client_as(&self, user: &str) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user)?)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Client::try_from(config)?)
    }

    /// The file with which programs come as one of the users.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        self.identity.kubeconfig_of(user)
    }

    /// Applies the documents of a YAML text, in order, as the admin (see [`objects`] for other ways).
    ///
    /// # Errors
    /// When it is no YAML, or the API server refuses something.
    pub async fn apply(&self, text: &str) -> Result<()> {
        objects::apply_all(&self.client().await?, objects::read(text)?).await
    }

    /// Makes a namespace if there is none.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        objects::apply(&self.client().await?, object).await?;
        Ok(())
    }

    /// Installs resource definitions of others and waits until the API server serves them.
    ///
    /// # Errors
    /// When `make setup-cluster` did not fetch them, or the API server refuses one.
    pub async fn install_crds(&self, crds: &[Crds]) -> Result<()> {
        let folder = tools::crds()?;
        let mut definitions: Vec<Value> = Vec::new();
        for file in crds.iter().flat_map(|crds| crds.files()) {
            definitions.extend(objects::read_file(&folder.join(file))?);
        }
        objects::define(&self.client().await?, definitions).await
    }

    /// Runs kubectl as one of the users, and waits for its end.
    ///
    /// # Errors
    /// When it is not there or cannot be started; that it failed is in its output.
    pub async fn kubectl<A: AsRef<OsStr>>(
        &self,
        user: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        let mut command = tokio::process::Command::new(tools::kubectl()?);
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig(user)?)
            // What it learns of an API server goes with that server.
            .arg("--cache-dir")
            .arg(self.world.folder("kubectl")?)
            .args(arguments)
            .kill_on_drop(true);
        command.output().await.context("failed to run kubectl")
    }

    /// The API server, while it runs.
    pub fn api(&mut self) -> Option<&mut Process> {
        self.api.as_mut()
    }

    /// etcd, while it runs.
    pub fn etcd(&mut self) -> Option<&mut Process> {
        self.etcd.as_mut()
    }

    /// Starts the API server again, on the same port and with the same identities, and waits until it serves; nothing
    /// happens when it runs.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_api(&mut self) -> Result<()> {
        if self.api.is_none() {
            self.api = Some(self.spawn_api()?);
        }
        self.ready().await
    }

    /// Ends the API server as an update of it would: it finishes what it was asked.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn stop_api(&mut self) -> Result<()> {
        if let Some(api) = self.api.take() {
            api.stop().await?;
        }
        Ok(())
    }

    /// Ends the API server as a crash would.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill_api(&mut self) -> Result<()> {
        if let Some(api) = self.api.take() {
            api.kill().await?;
        }
        Ok(())
    }

    /// Starts etcd again with the data that it had; waits until the API server serves, if that runs.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_etcd(&mut self) -> Result<()> {
        if self.etcd.is_none() {
            self.spawn_etcd()?;
        }
        if self.api.is_some() {
            self.ready().await?;
        }
        Ok(())
    }

    /// Ends etcd as a crash of it would. What it had said to be written is there, fsync or not: only a machine that
    /// loses its power loses what the kernel holds.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill_etcd(&mut self) -> Result<()> {
        if let Some(etcd) = self.etcd.take() {
            etcd.kill().await?;
        }
        Ok(())
    }

    /// Lets etcd forget everything before a revision, which is an object's `resourceVersion`.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn compact(&self, revision: &str) -> Result<()> {
        // The JSON form of its interface, so that no client of it is needed.
        let url = format!("{}/v3/kv/compaction", self.etcd_url());
        let request = json!({"revision": revision, "physical": true});
        let answer = reqwest::Client::new().post(url).json(&request).send();
        answer.await?.error_for_status()?;
        Ok(())
    }

    /// Ends both, the API server first.
    ///
    /// # Errors
    /// When an end cannot be waited for.
    pub async fn stop(mut self) -> Result<()> {
        // It would wait for the watches of its clients.
        self.kill_api().await?;
        self.kill_etcd().await
    }

    /// Waits until the API server says that it serves.
    ///
    /// # Errors
    /// When a part has ended, or after two minutes.
    pub async fn ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let (api, etcd) = (&mut self.api, &mut self.etcd);
        wait::until(START, "the API server to be ready", async || {
            for process in [&mut *etcd, &mut *api].into_iter().flatten() {
                process.alive()?;
            }
            let request = Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await?)
        })
        .await?;
        Ok(())
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    fn spawn_etcd(&mut self) -> Result<()> {
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        let url = self.etcd_url();
        let mut arguments = vec![
            format!("--data-dir={}", self.world.file("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--log-level=warn".to_owned(),
        ];
        if !self.setup.fsync {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        let program = tools::etcd()?;
        self.etcd = Some(Process::start(&self.world, "etcd", &program, arguments)?);
        Ok(())
    }

    fn spawn_api(&self) -> Result<Process> {
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", self.world.file("certificates").display()),
            "--service-account-issuer=https://serin.test".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Pods need no account that nobody makes here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // It would publish 127.0.0.1 as the address of `kubernetes`, and be refused by itself for ever.
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        arguments.extend(self.identity.arguments());
        arguments.extend(self.setup.arguments.iter().cloned());
        let program = tools::kube_apiserver()?;
        Process::start(&self.world, "kube-apiserver", &program, arguments)
    }
}

/// A name for a namespace that no other test of this process has.
#[must_use]
pub fn fresh_name(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
