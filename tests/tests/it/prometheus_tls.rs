//! The controller's client before a real Prometheus that speaks TLS and wants to know who asks.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use serin_controller::driver::chain;
use serin_controller::prometheus::{Access, Client, Credentials, QueryError};
use serin_tests::process::Process;
use serin_tests::world::World;
use serin_tests::{ports, tools, wait};

const START: Duration = Duration::from_secs(60);

/// Whoever signs, as files and to sign with.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    file: PathBuf,
}

impl Authority {
    fn new(world: &World, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let file = world.file(format!("{name}.crt"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { params, key, file }
    }

    /// A certificate for 127.0.0.1 and its key.
    fn sign(&self, world: &World, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let address = SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
        params.subject_alt_names.push(address);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let files = (
            world.file(format!("{name}.crt")),
            world.file(format!("{name}.key")),
        );
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

/// Starts Prometheus with this configuration of its web server. It scrapes nothing: `vector(1)` is there to be asked for.
fn prometheus(world: &World, web: &Value) -> (Process, String) {
    let port = ports::free().unwrap();
    let (config, web_config) = (world.file("prometheus.json"), world.file("web.json"));
    std::fs::write(&config, json!({"scrape_configs": []}).to_string()).unwrap();
    std::fs::write(&web_config, web.to_string()).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--web.config.file={}", web_config.display()),
        format!("--storage.tsdb.path={}", world.file("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ];
    let program = tools::prometheus().unwrap();
    let process = Process::start(world, "prometheus", &program, arguments).unwrap();
    (process, format!("https://127.0.0.1:{port}"))
}

async fn ask(client: &Client) -> Result<Option<f64>, QueryError> {
    let rows = client.query("vector(1)", Timestamp::now()).await?;
    Ok(rows.first().and_then(|row| row.number()))
}

/// Waits until Prometheus, which starts by itself, answers.
async fn answers(process: &mut Process, client: &Client) {
    let answer = wait::until(START, "Prometheus to answer through TLS", async || {
        process.alive()?;
        ask(client).await.context("no answer yet")
    });
    assert_eq!(answer.await.unwrap(), Some(1.0));
}

fn server(files: &(PathBuf, PathBuf)) -> Value {
    json!({"cert_file": files.0, "key_file": files.1})
}

fn access(ca: &Path) -> Access {
    Access {
        ca: Some(ca.to_owned()),
        ..Access::default()
    }
}

#[tokio::test]
async fn a_prometheus_behind_tls_and_a_password_is_read_by_reference_alone() {
    let world = World::new("prometheus-tls").unwrap();
    let authority = Authority::new(&world, "authority");
    let web = json!({
        "tls_server_config": server(&authority.sign(&world, "server")),
        // "hunter2", at bcrypt's lowest cost.
        "basic_auth_users": {"ann": "$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm"},
    });
    let (mut process, url) = prometheus(&world, &web);
    let password = world.file("password");
    std::fs::write(&password, "ann:hunter2\n").unwrap();
    let known = Access {
        credentials: Some(Credentials::Basic(password.clone())),
        ..access(&authority.file)
    };
    let client = Client::with_access(&url, known).unwrap();
    answers(&mut process, &client).await;

    std::fs::write(&password, "ann:hunter3\n").unwrap();
    let refused = ask(&client).await.unwrap_err();
    let said = chain(&refused);
    assert!(
        matches!(refused, QueryError::NotLetIn { status: 401, .. }),
        "{said}"
    );
    assert!(said.contains("--prometheus-basic-auth-file"), "{said}");
    assert!(!format!("{refused:?}{said}{client:?}").contains("hunter"));
    std::fs::write(&password, "ann:hunter2\n").unwrap();
    assert_eq!(ask(&client).await.unwrap(), Some(1.0), "read again");

    let nobody = Client::with_access(&url, access(&authority.file)).unwrap();
    let refused = ask(&nobody).await.unwrap_err();
    assert!(matches!(refused, QueryError::NotLetIn { status: 401, .. }));

    // Signed by somebody else than whom we trust.
    let other = Authority::new(&world, "other");
    let client = Client::with_access(&url, access(&other.file)).unwrap();
    let said = chain(&ask(&client).await.unwrap_err());
    assert!(
        said.starts_with(&format!("failed to reach '{url}': ")) && said.contains("UnknownIssuer"),
        "{said}"
    );
}

#[tokio::test]
async fn a_prometheus_that_wants_a_certificate_is_shown_one() {
    let world = World::new("prometheus-mtls").unwrap();
    let authority = Authority::new(&world, "authority");
    let mut tls = server(&authority.sign(&world, "server"));
    tls["client_auth_type"] = "RequireAndVerifyClientCert".into();
    tls["client_ca_file"] = json!(authority.file);
    let (mut process, url) = prometheus(&world, &json!({"tls_server_config": tls}));
    let known = Access {
        identity: Some(authority.sign(&world, "controller")),
        ..access(&authority.file)
    };
    answers(&mut process, &Client::with_access(&url, known).unwrap()).await;
    let nobody = Client::with_access(&url, access(&authority.file)).unwrap();
    let refused = ask(&nobody).await.unwrap_err();
    assert!(
        matches!(refused, QueryError::Unreachable { .. }),
        "{refused:?}"
    );
}
