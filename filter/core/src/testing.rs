//! What the unit tests share: a request that is nothing but memory, and configurations to start from.

use std::cell::RefCell;

use crate::config::{
    Attribute, ConditionConfig, ConfigError, DEFAULT_SHADOW_HEADER, FilterConfig, RolloutConfig,
    RuleConfig, VERSION, VariantConfig,
};
use crate::route::Request;
use crate::split::BucketTable;
use crate::stat::Encoding;
use crate::table::RoutingTable;

/// A request that remembers what it was asked. A draw that no test foresees fails the test.
#[derive(Default)]
pub(crate) struct Fake {
    headers: Vec<(String, Vec<u8>)>,
    properties: Vec<(String, Vec<u8>)>,
    draws: RefCell<Vec<u64>>,
    asked: RefCell<Vec<String>>,
}

impl Fake {
    /// To a host, with a path and nothing else.
    pub(crate) fn to(host: &str) -> Self {
        Self::default()
            .with(":authority", host)
            .with(":path", "/v2/models/fraud/infer")
    }

    /// With one more header.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With a property of the proxy; the parts of its path joined by dots.
    pub(crate) fn with_property(mut self, path: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties
            .push((path.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// From a caller with this name in its certificate.
    pub(crate) fn by_principal(self, name: &str) -> Self {
        self.with_property("connection.uri_san_peer_certificate", name)
    }

    /// With these draws, in this order.
    pub(crate) fn drawing(mut self, draws: &[u64]) -> Self {
        self.draws = RefCell::new(draws.iter().rev().copied().collect());
        self
    }

    /// What was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.borrow_mut().push(what.into());
    }
}

impl Request for Fake {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.note(name);
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(found, _)| found == name)?;
        Some(value)
    }

    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.note("cookies");
        let cookies = self.headers.iter().filter(|(name, _)| name == "cookie");
        cookies.map(|(_, value)| value.as_slice())
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        let path = path.join(".");
        self.note(&path);
        let mut properties = self.properties.iter();
        let (_, value) = properties.find(|(found, _)| *found == path)?;
        Some(value.clone())
    }

    fn draw(&self) -> u64 {
        self.note("draw");
        let draw = self.draws.borrow_mut().pop();
        draw.expect("more was drawn than the test foresaw")
    }
}

pub(crate) fn variant(name: &str, live: bool) -> VariantConfig {
    VariantConfig {
        name: name.to_owned(),
        version: "1".to_owned(),
        enabled: true,
        live,
        route: format!("{name}-route"),
        cluster: None,
    }
}

/// `stable`, live, owns all buckets; `canary` none. The key is the header `x-user-id`.
pub(crate) fn rollout(name: &str, host: &str) -> RolloutConfig {
    RolloutConfig {
        name: name.to_owned(),
        enabled: true,
        hosts: vec![host.to_owned()],
        path_prefix: None,
        path: None,
        path_template: None,
        variants: vec![variant("stable", true), variant("canary", false)],
        key: vec![Attribute::Header("x-user-id".to_owned())],
        cookie: None,
        rules: Vec::new(),
        overriding: None,
        salt: "salt".to_owned(),
        table: BucketTable::whole(0),
        progressing: true,
        slow: Vec::new(),
        fuse: None,
        shadow: None,
    }
}

/// As [`rollout`], below a path.
pub(crate) fn below(name: &str, host: &str, prefix: &str) -> RolloutConfig {
    RolloutConfig {
        path_prefix: Some(prefix.to_owned()),
        ..rollout(name, host)
    }
}

pub(crate) fn config(rollouts: Vec<RolloutConfig>) -> FilterConfig {
    FilterConfig {
        version: VERSION,
        generation: 1,
        route_header: "X-Serin-Route".to_owned(),
        shadow_header: DEFAULT_SHADOW_HEADER.to_owned(),
        stats: Encoding::default(),
        rollouts,
    }
}

#[track_caller]
pub(crate) fn table(rollouts: Vec<RolloutConfig>) -> RoutingTable {
    RoutingTable::new(config(rollouts)).unwrap()
}

/// A rule with these conditions, as JSON.
#[track_caller]
pub(crate) fn rule(variant: u8, when: serde_json::Value) -> RuleConfig {
    let when: Vec<ConditionConfig> = serde_json::from_value(when).unwrap();
    RuleConfig { variant, when }
}

/// The configuration is refused for this field, in these words.
#[track_caller]
pub(crate) fn refused(config: FilterConfig, field: &str, reason: &str) {
    let ConfigError {
        field: actual,
        reason: said,
    } = RoutingTable::new(config).unwrap_err();
    assert_eq!(actual, field, "{said}");
    assert!(
        said.contains(reason),
        "\"{said}\" does not say \"{reason}\""
    );
}

/// Breaks a good rollout, the second of two, and expects the complaint.
#[track_caller]
pub(crate) fn rollout_refused(spoil: impl FnOnce(&mut RolloutConfig), field: &str, reason: &str) {
    let mut bad = rollout("ml/bad", "bad");
    spoil(&mut bad);
    let field = format!("rollouts[1].{field}");
    refused(
        config(vec![rollout("ml/good", "good"), bad]),
        &field,
        reason,
    );
}

/// Changes a good rollout, and expects no complaint.
#[track_caller]
pub(crate) fn rollout_accepted(change: impl FnOnce(&mut RolloutConfig)) -> RoutingTable {
    let mut good = rollout("ml/fraud", "fraud");
    change(&mut good);
    table(vec![good])
}
