//! The users of the demo: each has a home and keeps to it, so that a version which fails for a country fails for the
//! same people again and again.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::transactions::{COUNTRIES, KNOWN_COUNTRIES, NO_COUNTRY, Transaction, Transactions};
use crate::traffic::Call;

/// The header with the user, which is the key of the rollout.
pub const USER_HEADER: HeaderName = HeaderName::from_static("x-user-id");

/// The host that the requests ask.
pub const HOST: &str = "fraud.ml";

/// Where inference requests go.
pub const PATH: &str = "/v2/models/fraud/infer";

/// The share of users from the new countries.
const NEW_SHARE: f64 = 0.1;

/// One request in this many has a country that no version knows: the error rate of every version.
const TYPO_EVERY: u32 = 2_000;

/// Users with a country each.
#[derive(Debug, Clone)]
pub struct Population {
    countries: Vec<i64>,
}

impl Population {
    /// So many users; the same seed gives them the same countries.
    #[must_use]
    pub fn new(users: usize, seed: u64) -> Population {
        let mut rng = StdRng::seed_from_u64(seed);
        let countries = (0..users)
            .map(|_| match rng.random_bool(NEW_SHARE) {
                true => rng.random_range(KNOWN_COUNTRIES..COUNTRIES),
                false => rng.random_range(0..KNOWN_COUNTRIES),
            })
            .collect();
        Population { countries }
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.countries.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.countries.is_empty()
    }

    /// The share of users from the new countries.
    #[must_use]
    pub fn new_share(&self) -> f64 {
        let new = self
            .countries
            .iter()
            .filter(|&&country| country >= KNOWN_COUNTRIES)
            .count();
        new as f64 / self.len().max(1) as f64
    }

    /// Requests without an end, each from any user with a transaction of their own; none when there is nobody.
    pub fn calls(self, seed: u64) -> impl Iterator<Item = Call> + Send + 'static {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut transactions = Transactions::new(seed);
        std::iter::from_fn(move || {
            if self.countries.is_empty() {
                return None;
            }
            let user = rng.random_range(0..self.countries.len());
            let home = self.countries[user];
            let country = if rng.random_ratio(1, TYPO_EVERY) {
                NO_COUNTRY
            } else {
                home
            };
            Some(call(user as u64, &transactions.draw(country)))
        })
    }
}

fn call(user: u64, transaction: &Transaction) -> Call {
    // Digits make a valid header value.
    let key = HeaderValue::from_str(&format!("user-{user}"));
    Call {
        user,
        host: HeaderValue::from_static(HOST),
        path: PATH.to_owned(),
        headers: key.into_iter().map(|key| (USER_HEADER, key)).collect(),
        body: body(transaction),
    }
}

/// The request of the Open Inference Protocol (REST) for one transaction.
fn body(transaction: &Transaction) -> Bytes {
    // Written by hand: it is most of what the generator does for a request.
    let mut text = String::with_capacity(256);
    text.push_str(r#"{"inputs":[{"name":"features","shape":[1,7],"datatype":"FP32","data":["#);
    for (index, value) in transaction.features.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{value}");
    }
    let country = transaction.country;
    let _ = write!(
        text,
        r#"]}},{{"name":"country","shape":[1],"datatype":"INT64","data":[{country}]}}]}}"#
    );
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn country(call: &Call) -> i64 {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        body["inputs"][1]["data"][0].as_i64().unwrap()
    }

    #[test]
    fn one_user_in_ten_is_from_a_new_country() {
        let population = Population::new(50_000, 1);
        // Five standard deviations of a binomial share.
        let spread = 5.0 * (NEW_SHARE * (1.0 - NEW_SHARE) / 50_000.0).sqrt();
        assert!(
            (population.new_share() - NEW_SHARE).abs() < spread,
            "{}",
            population.new_share()
        );
    }

    #[test]
    fn a_user_keeps_to_one_country_but_for_typing_errors() {
        let mut homes: BTreeMap<u64, i64> = BTreeMap::new();
        let mut typos = 0;
        for call in Population::new(100, 1).calls(2).take(40_000) {
            match country(&call) {
                NO_COUNTRY => typos += 1,
                found => assert_eq!(*homes.entry(call.user).or_insert(found), found),
            }
        }
        // 20 expected; outside of this once in ten thousand seeds, and the seed is fixed.
        assert!((5..40).contains(&typos), "{typos}");
        assert_eq!(homes.len(), 100);
    }

    #[test]
    fn a_request_is_what_the_protocol_wants() {
        let features = [0.5, -1.0, 1e-9, 0.25, 2.0, 3.5, -0.125];
        let transaction = Transaction {
            features,
            country: 12,
            probability: 0.5,
            fraud: false,
        };
        let call = call(42, &transaction);
        assert_eq!(
            call.headers,
            [(USER_HEADER, HeaderValue::from_static("user-42"))]
        );
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(
            body["inputs"][1],
            json!({"name": "country", "shape": [1], "datatype": "INT64", "data": [12]})
        );
        assert_eq!(body["inputs"][0]["shape"], json!([1, 7]));
        let sent: Vec<f32> = serde_json::from_value(body["inputs"][0]["data"].clone()).unwrap();
        assert_eq!(sent, features);
    }

    #[test]
    fn the_same_seeds_send_the_same_requests() {
        let bodies = || -> Vec<Bytes> {
            Population::new(1000, 1)
                .calls(2)
                .take(50)
                .map(|call| call.body)
                .collect()
        };
        assert_eq!(bodies(), bodies());
    }
}
