//! The pure half of Serin's Envoy filter: the wire format of its configuration, its validation into a routing table,
//! and the choice of a variant for one request. No host calls, no clock, no I/O: the filter (Wasm) adapts it to the
//! proxy, the controller renders configurations with the very same types.
//!
//! # Wire format
//!
//! JSON, camelCase, version 1. Fields that are not known are ignored, so that an older filter reads what a newer
//! controller of the same major `version` writes; a change that an old filter would get wrong raises `version`, and a
//! filter refuses a version it does not know. A choice it does not know (a new kind of `key`) is refused as well: to
//! skip it would split users by another key than the one asked for.
//!
//! ```json
//! {
//!   "version": 1,
//!   "generation": 12,
//!   "routeHeader": "x-serin-route",
//!   "rollouts": [{
//!     "name": "ml/fraud",
//!     "hosts": ["fraud.ml.svc.cluster.local", "fraud.ml"],
//!     "pathPrefix": "/v2/models/fraud",
//!     "variants": [
//!       {"name": "stable", "version": "7", "live": true, "route": "v7"},
//!       {"name": "canary", "version": "8", "live": false, "route": "v8", "cluster": "fraud-v8"}
//!     ],
//!     "key": [{"header": "x-user-id"}],
//!     "salt": "fraud-8",
//!     "table": [[9500, 0], [10000, 1]],
//!     "progressing": true
//!   }]
//! }
//! ```
//!
//! # How to reproduce an assignment in any language
//!
//! `XXH3_64` is the 64-bit XXH3 hash (<https://xxhash.com>) with a seed; strings are UTF-8 bytes, header values the
//! bytes as received.
//!
//! ```text
//! bucket = XXH3_64(key, seed = XXH3_64(salt, seed = 0)) mod 10000
//! group  = XXH3_64(key, seed = XXH3_64("serin group " ++ salt, seed = 0)) mod 16
//! ```
//!
//! The variant is the one of the first run `[upto, variant]` of the bucket table with `bucket < upto`. In Python:
//! `xxhash.xxh3_64_intdigest(key, seed=xxhash.xxh3_64_intdigest(salt)) % 10000`.
//!
//! | salt | key | bucket | group |
//! |---|---|---|---|
//! | `fraud-8` | `1` | 745 | 1 |
//! | `fraud-8` | `42` | 3057 | 1 |
//! | `fraud-8` | `alice@example.com` | 5369 | 2 |
//! | `fraud-9` | `42` | 2421 | 9 |
//! | `café` | `zoë` | 2373 | 6 |
//! | `fraud-8` | the bytes `ff fe` | 2074 | 11 |
//! | `fraud-8` | `0123456789abcdef` 20 times | 4787 | 13 |

// A panic in the filter takes down the VM of its worker, with all requests that it serves.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod attribute;
pub mod config;
pub mod fuse;
pub mod outcome;
pub mod overriding;
pub mod pairs;
pub mod random;
pub mod route;
mod rule;
pub mod split;
pub mod stat;
pub mod table;
