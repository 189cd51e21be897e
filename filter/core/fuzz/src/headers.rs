//! Input: headers, either lines `name: value` or bytes as the proxy serializes them. A line whose name is the last part
//! of a property's path, such as `sub`, is that property as well.

use std::cell::Cell;
use std::sync::LazyLock;

use serin_filter_core::config::FilterConfig;
use serin_filter_core::pairs::{Pairs, serialize};
use serin_filter_core::route::{Decision, Request, decide};
use serin_filter_core::split::{BUCKETS, GROUPS};
use serin_filter_core::table::RoutingTable;

/// A configuration that reads every kind of attribute.
static TABLE: LazyLock<RoutingTable> = LazyLock::new(|| {
    let config = FilterConfig::parse(include_bytes!("../corpus/config/everything.json"));
    // Without it every input would pass.
    match config.and_then(RoutingTable::new) {
        Ok(table) => table,
        Err(error) => panic!("{error}"),
    }
});

/// Parses the headers in place and chooses a variant by them, twice: it must be the same one.
pub fn run(data: &[u8]) {
    for request in [Lines::new(data), Lines::serialized(data)] {
        for (name, value) in request.pairs().iter() {
            assert!(super::lies_within(name, &request.bytes), "not borrowed");
            assert!(super::lies_within(value, &request.bytes), "not borrowed");
        }
        let first = decide(&TABLE, &request);
        check(&TABLE, first.as_ref());
        request.drawn.set(0);
        assert_eq!(decide(&TABLE, &request), first, "chosen by chance");
    }
}

/// Checks that a decision names what there is.
pub fn check(table: &RoutingTable, decision: Option<&Decision>) {
    let Some(decision) = decision else { return };
    let Some(rollout) = table.rollout(decision.rollout) else {
        panic!("no such rollout: {decision:?}");
    };
    assert!(rollout.variant(decision.variant).is_some(), "{decision:?}");
    assert!(rollout.enabled(decision.variant), "{decision:?}");
    assert!(
        decision.bucket.is_none_or(|it| it < BUCKETS),
        "{decision:?}"
    );
    assert!(decision.group.is_none_or(|it| it < GROUPS), "{decision:?}");
}

/// A request as the filter sees it.
pub struct Lines {
    bytes: Vec<u8>,
    drawn: Cell<u64>,
}

impl Lines {
    /// Of lines `name: value`.
    pub fn new(lines: &[u8]) -> Self {
        let headers: Vec<(&[u8], &[u8])> = lines
            .split(|&byte| byte == b'\n')
            .map(|line| {
                // The colon that a pseudo-header begins with belongs to its name.
                let colon = line.iter().skip(1).position(|&byte| byte == b':');
                let (name, value) = line.split_at(colon.map_or(line.len(), |at| at + 1));
                let value = value.strip_prefix(b":").unwrap_or(value);
                (name, value.strip_prefix(b" ").unwrap_or(value))
            })
            .collect();
        Self::serialized(&serialize(&headers))
    }

    /// Of the bytes that a proxy hands over.
    fn serialized(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            drawn: Cell::new(0),
        }
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs::new(&self.bytes)
    }
}

impl Request for Lines {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.pairs().get(name)
    }

    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.pairs().all("cookie")
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.pairs().get(path.last()?).map(<[u8]>::to_vec)
    }

    fn draw(&self) -> u64 {
        // Any sequence will do, as long as a test can repeat it.
        let next = self.drawn.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.drawn.set(next);
        next
    }
}
