//! The caller's principal: the name in the certificate that Envoy has verified, and nothing that a caller can write.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use serin_filter_core::split::bucket;
use serin_filter_core::stat;
use serin_tests::{envoy, ports};

use super::{Rig, Seen, name, rendered, rollout};

const SHOP: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
const CI: &str = "spiffe://cluster.local/ns/ci/sa/runner";
const OVERRIDE: &str = "x-serin-variant";

/// A caller, by the URIs in its certificate.
type Caller = &'static [&'static str];

const SHOPS: Caller = &[SHOP];
const RUNNERS: Caller = &[CI];
/// Its principal is the first.
const BOTH: Caller = &[SHOP, CI];
const NAMELESS: Caller = &[];

/// A certificate authority that Envoy trusts.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate with the name of its issuer would be taken for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "mesh");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// What both sides of a connection say of TLS (`CommonTlsContext`), with these URIs in the certificate shown.
    fn context(&self, uris: &[&str]) -> Value {
        let mut params = CertificateParams::new(["host.example".to_owned()]).unwrap();
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        json!({
            "tls_certificates": [{
                "certificate_chain": {"inline_string": certificate},
                "private_key": {"inline_string": key.serialize_pem()},
            }],
            "validation_context": {"trusted_ca": {"inline_string": self.certificate}},
        })
    }
}

/// One side of a TLS connection, of which the context says more.
fn transport(side: &str, mut context: Value, name: &str, value: Value) -> Value {
    context[name] = value;
    context["@type"] =
        format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext")
            .into();
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

/// An Envoy that speaks mutual TLS beside plain text, and a door for each caller: a port that takes plain bytes and passes
/// them on under the caller's certificate, as a sidecar does.
struct Mesh {
    rig: Rig,
    doors: Vec<(Caller, u16)>,
}

impl Mesh {
    async fn start(rollouts: &[Value]) -> Mesh {
        let authority = Authority::new();
        let callers = [SHOPS, RUNNERS, BOTH, NAMELESS];
        let doors = callers.map(|uris| (uris, ports::free().unwrap()));
        let rig = Rig::start_altered(&rendered(1, rollouts), |bootstrap| {
            let resources = &mut bootstrap["static_resources"];
            let inside = speak_tls(&mut resources["listeners"][0], &authority);
            for (number, (uris, port)) in doors.iter().enumerate() {
                let name = format!("door-{number}");
                let mut inside = envoy::cluster(&name, inside);
                let context = json!({"common_tls_context": authority.context(uris)});
                inside["transport_socket"] = transport("Upstream", context, "sni", "in".into());
                push(&mut resources["clusters"], inside);
                push(&mut resources["listeners"], door(&name, *port));
            }
        })
        .await;
        rig.settle(1).await;
        Mesh {
            rig,
            doors: doors.to_vec(),
        }
    }

    /// A request of a caller; none: in plain text.
    fn request(&self, caller: Option<Caller>, host: &str) -> reqwest::RequestBuilder {
        let port = match caller {
            None => self.rig.envoy.address().port(),
            Some(uris) => self.doors.iter().find(|(its, _)| *its == uris).unwrap().1,
        };
        let url = format!("http://127.0.0.1:{port}/");
        self.rig.client.get(url).header("host", host)
    }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

/// Has a listener take mutual TLS beside plain text; returns its port.
fn speak_tls(listener: &mut Value, authority: &Authority) -> u16 {
    listener["listener_filters"] = json!([{
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        },
    }]);
    let mut tls = listener["filter_chains"][0].clone();
    listener["filter_chains"][0]["filter_chain_match"] =
        json!({"transport_protocol": "raw_buffer"});
    tls["filter_chain_match"] = json!({"transport_protocol": "tls"});
    let context = json!({"common_tls_context": authority.context(&["spiffe://cluster.local/ns/ml/sa/fraud"])});
    tls["transport_socket"] = transport(
        "Downstream",
        context,
        "require_client_certificate",
        true.into(),
    );
    push(&mut listener["filter_chains"], tls);
    let port = listener["address"]["socket_address"]["port_value"].as_u64();
    port.unwrap().try_into().unwrap()
}

/// A listener that passes bytes on to a cluster.
fn door(cluster: &str, port: u16) -> Value {
    json!({
        "name": cluster,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": cluster,
                "cluster": cluster,
            },
        }]}],
    })
}

#[tokio::test]
async fn the_principal_is_the_first_uri_of_the_verified_certificate_as_key_in_rules_and_for_overrides()
 {
    let bucket = bucket("fraud-8", SHOP.as_bytes());
    let mesh = Mesh::start(&[
        rollout(
            "key.ml",
            json!({
                "key": [{"source": "principal"}],
                "table": [[bucket, 0], [bucket + 1, 1], [10_000, 0]],
            }),
        ),
        rollout(
            "rule.ml",
            json!({"rules": [{
                "variant": 1,
                "when": [{"source": "principal", "prefix": "spiffe://cluster.local/ns/ci/"}],
            }]}),
        ),
        rollout(
            "override.ml",
            json!({"override": {"header": OVERRIDE, "principals": [CI]}}),
        ),
    ])
    .await;

    // The caller; whether the bucket (none: there is none), the rule and the override lead it to the canary.
    let callers: [(Option<Caller>, Option<bool>, bool, bool); 5] = [
        (Some(SHOPS), Some(true), false, false),
        (Some(RUNNERS), Some(false), true, true),
        (Some(BOTH), Some(true), false, false),
        (Some(NAMELESS), None, false, false),
        (None, None, false, false),
    ];
    // What Envoy writes of a certificate into headers, a stranger can write as well.
    let claims = format!("By=spiffe://cluster.local/ns/ml/sa/fraud;URI={CI}");
    for (caller, by_key, by_rule, by_override) in callers {
        for (host, canary) in [
            ("key.ml", by_key),
            ("rule.ml", Some(by_rule)),
            ("override.ml", Some(by_override)),
        ] {
            let request = mesh.request(caller, host).header(OVERRIDE, "canary");
            let seen = Seen::of(request.header("x-forwarded-client-cert", &claims)).await;
            if let Some(canary) = canary {
                let version = if canary { "8" } else { "7" };
                assert_eq!(seen.version, version, "{caller:?} {host}");
            }
            // Stripped only where a rollout has given it a meaning.
            let passed = host != "override.ml" || by_override;
            assert_eq!(
                seen.upstream[OVERRIDE] != Value::Null,
                passed,
                "{caller:?} {host}"
            );
        }
    }

    // Who has a principal is a user; who has none is drawn anew each time.
    for (host, reason, expected) in [
        ("key.ml", "weight", 3),
        ("key.ml", "random", 2),
        ("rule.ml", "rule", 1),
        ("override.ml", "override", 1),
    ] {
        let name = name(host);
        let labels = [(stat::ROLLOUT, name.as_str()), (stat::REASON, reason)];
        mesh.rig
            .reads(stat::ASSIGNMENTS_TOTAL, &labels, expected)
            .await;
    }
}
