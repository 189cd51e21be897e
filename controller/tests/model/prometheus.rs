//! Prometheus: a function of what the proxies run, and of what they ran in each cell.

use std::sync::Arc;

use serin_controller::driver::World as Seen;
use serin_controller::observation::Proxy;
use serin_controller::prometheus::Row;
use serin_filter_core::stat;

use super::controller::Controller;
use super::world::{Rules, World};

/// What Prometheus says to a controller. `bad`: every answer of the new version is.
pub(crate) fn seen(controller: &Controller, world: &World, bad: bool, rules: Rules) -> Seen {
    let asks = controller.fleet.asks();
    let Some(first) = asks.iter().map(|ask| ask.next_cell).min() else {
        return Seen::default();
    };
    let newest = world.config().map(|config| config.generation);
    let proxies = world
        .proxies
        .iter()
        .enumerate()
        .map(|(number, proxy)| Proxy {
            target: number.to_string(),
            namespace: None,
            up: true,
            generation: match proxy {
                _ if rules.hasty_proxies => newest,
                Some(proxy) => Some(proxy.config.generation),
                None => None,
            },
            invalid: false,
        });
    let cells = (0..).zip(&world.cells).filter(|(index, _)| *index >= first);
    let cells = cells.map(|(index, (canary, stable))| {
        let counted = bad && !rules.unseen_failures;
        let bad = if counted { *canary } else { 0 };
        let mut found = rows("ml/fraud", "8", *canary, bad);
        found.extend(rows("ml/fraud", "7", *stable, 0));
        (index, found.iter().collect())
    });
    Seen::of(cells, Some(Ok(Arc::new(proxies.collect()))))
}

/// What the proxies have counted of a version in a cell.
pub(crate) fn rows(rollout: &str, version: &str, total: u64, bad: u64) -> Vec<Row<'static>> {
    let row = |counter: &str, group: &str, count: u64| {
        let labels = [
            ("counter", counter),
            (stat::ROLLOUT, rollout),
            (stat::VERSION, version),
            (stat::GROUP, group),
        ];
        Row::new(
            labels.map(|(name, value)| (name, value.to_owned())),
            count.to_string(),
        )
    };
    let mut found = Vec::new();
    for group in 0..16 {
        let group = group.to_string();
        found.push(row(stat::SPLIT_TOTAL, &group, total / 16));
        found.push(row(stat::SPLIT_BAD_TOTAL, &group, bad / 16));
    }
    found.push(row(stat::SAMPLED_TOTAL, "", total / 64));
    found
}
