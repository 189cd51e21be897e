//! Free ports on 127.0.0.1 for programs that cannot report a port they chose, or must come back on the same one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use rand::RngExt;

/// Below the range from which Linux takes the source ports of outgoing connections (32768 and up): a port that a
/// program gave up for a restart cannot be taken by a connection in between.
const RANGE: Range<u16> = 20_000..30_000;

static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on which nobody listens and which this process was not given before.
///
/// # Errors
/// When a thousand random tries find none.
pub fn free() -> Result<u16> {
    // A panic elsewhere does not spoil a set of numbers.
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = rand::rng();
    for _ in 0..1000 {
        let port = rng.random_range(RANGE);
        if handed_out.contains(&port) {
            continue;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            handed_out.insert(port);
            return Ok(port);
        }
    }
    bail!("failed to find a free port in {RANGE:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let ports: Vec<u16> = (0..200).map(|_| free().unwrap()).collect();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
