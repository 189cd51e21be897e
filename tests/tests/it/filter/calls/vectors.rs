//! One request, one answer, wherever it is decided: the same vectors through the module and through the native code.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use serin_filter_core::config::FilterConfig;
use serin_filter_core::route::{Request, decide};
use serin_filter_core::table::RoutingTable;

use super::proxy::{Headers, Proxy};
use super::wasm;
use crate::filter::{HOST, ROUTE};

const VECTORS: usize = 10_000;
/// Any: it makes the vectors of two runs the same.
const SEED: u64 = 10;

/// Three arms of odd sizes in many runs, keys of four kinds, and rules that read numbers and expressions: all that could
/// differ between two machines, in word size, arithmetic or the engine behind it.
fn configuration() -> FilterConfig {
    let table: Vec<_> = (1..=50)
        .map(|run| json!([run * 200 - if run == 50 { 0 } else { run % 7 }, run % 4]))
        .collect();
    let variant =
        |name: &str, live| json!({"name": name, "version": name, "route": name, "live": live});
    let config = json!({
        "version": 1, "generation": 1, "routeHeader": ROUTE,
        "rollouts": [{
            "name": "ml/fraud", "hosts": [HOST], "pathTemplate": "/v2/models/{model}/**",
            "variants": [variant("live", true), variant("a", false), variant("b", false), variant("c", false)],
            "key": [{"header": "x-user-id"}, {"cookie": "user"}, {"query": "user"}, {"unverifiedJwtClaim": "sub"}],
            "rules": [
                {"variant": 3, "when": [{"query": "score", "range": {"min": 0.25, "max": 0.3}}]},
                {"variant": 2, "when": [{"header": "x-tenant", "regex": "t-[0-4]{2}(x|yz)*"}]},
            ],
            "salt": "sält", "table": table,
        }],
    });
    serde_json::from_value(config).unwrap()
}

/// A request with a key of some kind, which is any bytes where any bytes may be.
fn vector(random: &mut StdRng) -> Headers {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let length = random.random_range(1..40);
    let mut key = vec![0; length];
    random.fill_bytes(&mut key);
    let text: String = key
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect();
    let mut path = format!(
        "/v2/models/m{}/infer?score=0.{}",
        length % 3,
        random.random_range(0..1000)
    );
    let mut headers = Headers::new();
    match random.random_range(0..4) {
        0 => headers.push((bytes("x-user-id"), key)),
        1 => {
            let cookie = [b"a=b; user=".as_slice(), text.as_bytes()].concat();
            headers.push((bytes("cookie"), cookie));
        }
        2 => {
            let escaped: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
            path.push_str(&format!("&user={escaped}"));
        }
        _ => {
            // {"sub":"…"} in base64url, in groups of three bytes, so that there is no padding.
            let mut claims = format!(r#"{{"sub":"{text}"}}"#);
            while !claims.len().is_multiple_of(3) {
                claims.push(' ');
            }
            let token = format!("Bearer e30.{}.x", base64url(claims.as_bytes()));
            headers.push((bytes("authorization"), token.into_bytes()));
        }
    }
    if random.random_range(0..5) == 0 {
        let tenant = format!(
            "t-{}{}",
            random.random_range(0..60),
            ["x", "yz", "y"][length % 3]
        );
        headers.push((bytes("x-tenant"), tenant.into_bytes()));
    }
    headers.push((bytes(":authority"), bytes(HOST)));
    headers.push((bytes(":path"), path.into_bytes()));
    headers
}

/// RFC 4648, section 5, of whole groups.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let groups = bytes.chunks(3).flat_map(|group| {
        let word = group
            .iter()
            .fold(0, |word, byte| word << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[word >> shift & 63]))
    });
    groups.collect()
}

struct Asks<'a>(&'a Headers);

impl Request for Asks<'_> {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        let mut headers = self.0.iter();
        let (_, value) = headers.find(|(found, _)| found == name.as_bytes())?;
        Some(value)
    }
    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.header("cookie").into_iter()
    }
    fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
        None
    }
    fn draw(&self) -> u64 {
        panic!("each vector has a key")
    }
}

#[test]
fn the_module_and_the_native_code_decide_alike() {
    let config = configuration();
    let mut proxy = Proxy::start(&wasm(), &serde_json::to_string(&config).unwrap());
    let variants = config.rollouts[0].variants.clone();
    let table = RoutingTable::new(config).unwrap();
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut chosen, mut by_rule) = (vec![0; variants.len()], 0);
    for number in 0..VECTORS {
        let request = vector(&mut random);
        let native = decide(&table, &Asks(&request)).unwrap();
        let meant = &variants[native.variant];
        proxy.serve(&request, 200);
        let route = proxy.request_header(ROUTE);
        let expected = (!meant.live).then_some(meant.route.as_bytes());
        assert_eq!(route, expected, "vector {number}: {native:?}");
        chosen[native.variant] += 1;
        by_rule += usize::from(native.rule.is_some());
    }
    // Otherwise the vectors would show less than they are for.
    println!("{chosen:?} by variant, {by_rule} of {VECTORS} by rules");
    assert!(
        chosen.iter().all(|count| *count > VECTORS / 10),
        "{chosen:?}"
    );
    assert!(by_rule > VECTORS / 30 && by_rule < VECTORS / 2, "{by_rule}");
}
