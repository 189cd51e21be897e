//! istiod: reads Istio's objects from the API server and tells Envoys what to do.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::identity::ADMIN;
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long it may take to start on a busy machine; alone it takes a second.
const START: Duration = Duration::from_secs(60);

/// Istio's root namespace: what stands there is for the whole mesh.
pub const ROOT_NAMESPACE: &str = "istio-system";

/// What istiod does not do here: it makes no certificates, injects nothing, validates nothing, and leaves out the
/// filters that only Istio's own build of Envoy has.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
    ("ENABLE_CA_SERVER", "false"),
    ("PILOT_CERT_PROVIDER", "none"),
    ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
    ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
    ("POD_NAME", "istiod"),
    ("POD_NAMESPACE", ROOT_NAMESPACE),
];

/// A running istiod; it may be down for a while.
#[derive(Debug)]
pub struct Istiod {
    world: World,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    xds: u16,
    http: u16,
    process: Option<Process>,
    client: reqwest::Client,
}

impl Istiod {
    /// Starts it on an API server that has Istio's resource definitions, and waits until it serves. `environment` holds
    /// further settings of it, such as `PILOT_DEBOUNCE_AFTER`.
    ///
    /// # Errors
    /// When it is not there, ends early (with the end of its log), or is not ready in time.
    pub async fn start(
        world: &World,
        control_plane: &ControlPlane,
        environment: &[(&str, &str)],
    ) -> Result<Istiod> {
        control_plane.namespace(ROOT_NAMESPACE).await?;
        let (xds, http, monitoring) = (ports::free()?, ports::free()?, ports::free()?);
        let address = format!("127.0.0.1:{xds}");
        let mesh = world.file("mesh.yaml");
        let settings = json!({
            "defaultConfig": {"discoveryAddress": address},
            "enablePrometheusMerge": false,
            // With it a cluster waits for a certificate for ever, and no listener comes up.
            "enableAutoMtls": false,
        });
        std::fs::write(&mesh, settings.to_string())
            .with_context(|| format!("failed to write {}", mesh.display()))?;
        let kubeconfig = control_plane.kubeconfig(ADMIN)?;
        let arguments = [
            "discovery".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--meshConfig={}", mesh.display()),
            format!("--grpcAddr={address}"),
            "--secureGRPCAddr=".to_owned(),
            format!("--httpAddr=127.0.0.1:{http}"),
            "--httpsAddr=".to_owned(),
            format!("--monitoringAddr=127.0.0.1:{monitoring}"),
            "--registries=Kubernetes".to_owned(),
            format!("--namespace={ROOT_NAMESPACE}"),
        ];
        let environment = ENVIRONMENT.iter().chain(environment);
        let mut istiod = Istiod {
            world: world.clone(),
            arguments: arguments.into(),
            environment: environment
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            xds,
            http,
            process: None,
            client: reqwest::Client::new(),
        };
        istiod.up().await?;
        Ok(istiod)
    }

    /// The port on 127.0.0.1 where Envoys ask, without TLS.
    #[must_use]
    pub fn xds_port(&self) -> u16 {
        self.xds
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts it again on the same ports, and waits until it serves; nothing happens when it runs.
    ///
    /// # Errors
    /// As [`Istiod::start`].
    pub async fn up(&mut self) -> Result<()> {
        let process = match &mut self.process {
            Some(process) => process,
            none => none.insert(spawn(&self.world, &self.arguments, &self.environment)?),
        };
        let url = format!("http://127.0.0.1:{}/ready", self.http);
        wait::until(START, "istiod to be ready", async || {
            process.alive()?;
            let answer = self.client.get(&url).send().await;
            answer
                .context("failed to reach istiod")?
                .error_for_status()
                .context("istiod is not ready")?;
            Ok(())
        })
        .await
    }

    /// Ends it as a crash would; Envoys go on with what they have.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// What it says of itself at a path of its HTTP interface, such as `/debug/syncz`.
    ///
    /// # Errors
    /// When it does not answer, or answers with an error.
    pub async fn debug(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let answer = self.client.get(url).send().await;
        let answer = answer.context("failed to reach istiod")?;
        Ok(answer.error_for_status()?.text().await?)
    }
}

fn spawn(world: &World, arguments: &[String], environment: &[(String, String)]) -> Result<Process> {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let program = tools::istiod()?;
    Process::start_with(world, "istiod", &program, arguments, &environment)
}
