//! Input: a plugin configuration.

use serin_filter_core::config::FilterConfig;
use serin_filter_core::route::decide;
use serin_filter_core::table::RoutingTable;

use super::headers::{Lines, check};

/// Reads, writes and compiles the configuration, and routes a request to each of its rollouts.
pub fn run(data: &[u8]) {
    let config = match FilterConfig::parse(data) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.field.is_empty(), "an error that names no field");
            return;
        }
    };
    let written = serde_json::to_vec(&config).unwrap_or_default();
    let again = FilterConfig::parse(&written);
    assert_eq!(
        again.as_ref(),
        Ok(&config),
        "it does not survive a round trip"
    );

    let requests: Vec<Lines> = config
        .rollouts
        .iter()
        .map(|rollout| {
            let host = rollout.hosts.first().map_or("", String::as_str);
            let paths = [&rollout.path, &rollout.path_prefix, &rollout.path_template];
            let path = paths
                .into_iter()
                .flatten()
                .next()
                .map_or("/", String::as_str);
            Lines::new(
                format!(":authority: {host}\n:path: {path}?a=b\n:method: GET\ncookie: a=b")
                    .as_bytes(),
            )
        })
        .collect();
    match RoutingTable::new(config) {
        Ok(table) => {
            for request in &requests {
                check(&table, decide(&table, request).as_ref());
            }
        }
        Err(error) => assert!(!error.field.is_empty(), "an error that names no field"),
    }
}
