//! Rollouts by host and path.

use super::paths::{Paths, Pattern};
use crate::hash::Map;

/// The longest host name (RFC 1035, section 2.3.4); what is longer names nobody.
const MAX_HOST: usize = 255;

/// Which rollout claims a request. As Envoy picks a virtual host before it looks at a path, the most specific host
/// decides alone: exact before `*.suffix`, a longer suffix before a shorter one, `*` last; then the path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    exact: Map<Vec<u8>, Paths>,
    /// By what follows the star, with its dot.
    suffixes: Map<Vec<u8>, Paths>,
    any: Option<Box<Paths>>,
}

impl Hosts {
    /// With room for so many names.
    pub(crate) fn with_capacity(names: usize) -> Self {
        let mut hosts = Self::default();
        hosts.exact.reserve(names);
        hosts
    }

    /// Enters a rollout; the one that claims the very same is returned and stays.
    pub(crate) fn insert(&mut self, host: &str, pattern: Pattern, rollout: u32) -> Option<u32> {
        let name = host.to_ascii_lowercase();
        let paths = match name.strip_prefix('*') {
            Some("") => self.any.get_or_insert_default(),
            Some(suffix) => self.suffixes.entry(suffix.as_bytes().to_vec()).or_default(),
            None => self.exact.entry(name.into_bytes()).or_default(),
        };
        paths.insert(pattern, rollout)
    }

    /// The rollout of a request; `host` with or without port, in any case. The path is asked for only where it matters.
    pub(crate) fn find<'p>(
        &self,
        host: &[u8],
        path: impl FnOnce() -> Option<&'p [u8]>,
    ) -> Option<u32> {
        let paths = self.paths(host)?;
        paths
            .only()
            .or_else(|| paths.find(path().unwrap_or_default()))
    }

    fn paths(&self, host: &[u8]) -> Option<&Paths> {
        let host = without_port(host);
        let named = if host.iter().any(u8::is_ascii_uppercase) {
            self.in_capitals(host)
        } else {
            self.named(host)
        };
        named.or(self.any.as_deref())
    }

    /// On the stack: a request must not allocate for a name in capitals. Apart, so that others have no such stack.
    #[inline(never)]
    fn in_capitals(&self, host: &[u8]) -> Option<&Paths> {
        let mut lower = [0; MAX_HOST];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.named(lower)
    }

    fn named(&self, name: &[u8]) -> Option<&Paths> {
        if name.len() > MAX_HOST {
            return None;
        }
        if let Some(paths) = self.exact.get(name) {
            return Some(paths);
        }
        if self.suffixes.is_empty() {
            return None;
        }
        // The star stands for something: a leading dot begins no suffix.
        let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
        dots.filter(|&(at, _)| at > 0)
            .find_map(|(at, _)| self.suffixes.get(name.get(at..)?))
    }
}

/// The host without its port. An IPv6 address has colons of its own, but only within brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let end = host
        .iter()
        .rposition(|&byte| matches!(byte, b':' | b']'))
        .filter(|&at| host.get(at) == Some(&b':'));
    end.and_then(|end| host.get(..end)).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::{Hosts, Pattern, without_port};

    const ALL: Pattern = Pattern::Prefix("/");

    fn hosts(names: &[&str]) -> Hosts {
        let mut hosts = Hosts::default();
        for (rollout, name) in (0..).zip(names) {
            assert_eq!(hosts.insert(name, ALL, rollout), None, "{name}");
        }
        hosts
    }

    fn find(hosts: &Hosts, host: &str) -> Option<u32> {
        hosts.find(host.as_bytes(), || None)
    }

    #[test]
    fn exact_wins_over_a_suffix_a_longer_suffix_over_a_shorter_one_and_the_star_is_last() {
        let hosts = hosts(&["fraud.ml.svc", "*.ml.svc", "*.svc", "*"]);
        for (host, rollout) in [
            ("fraud.ml.svc", 0),
            ("FRAUD.ml.SVC:8080", 0),
            ("spam.ml.svc", 1),
            ("a.b.ml.svc", 1),
            ("ml.svc", 2),
            ("x.svc:80", 2),
            ("svc", 3),
            (".svc", 3),
            ("[::1]:80", 3),
            ("", 3),
        ] {
            assert_eq!(find(&hosts, host), Some(rollout), "{host}");
        }
    }

    #[test]
    fn no_other_host_is_asked_when_the_most_specific_one_does_not_want_the_path() {
        let mut hosts = hosts(&["*.ml"]);
        hosts.insert("fraud.ml", Pattern::Prefix("/v2"), 1);
        assert_eq!(hosts.find(b"fraud.ml", || Some(b"/v2/x")), Some(1));
        assert_eq!(hosts.find(b"fraud.ml", || Some(b"/v1")), None);
        assert_eq!(hosts.find(b"spam.ml", || Some(b"/v1")), Some(0));
    }

    #[test]
    fn names_longer_than_any_host_match_nothing_but_the_star() {
        let long = "A".repeat(300) + ".ml";
        assert_eq!(find(&hosts(&["*.ml"]), &long), None);
        assert_eq!(find(&hosts(&["*.ml", "*"]), &long), Some(1));
    }

    #[test]
    fn the_path_is_not_asked_for_where_it_does_not_matter() {
        let hosts = hosts(&["fraud.ml"]);
        assert_eq!(hosts.find(b"fraud.ml", || panic!("asked")), Some(0));
        assert_eq!(hosts.find(b"spam.ml", || panic!("asked")), None);
    }

    #[test]
    fn a_port_is_not_part_of_a_name() {
        for (host, name) in [
            ("a", "a"),
            ("a:1", "a"),
            ("[::1]", "[::1]"),
            ("[::1]:1", "[::1]"),
            (":1", ""),
            ("", ""),
        ] {
            assert_eq!(without_port(host.as_bytes()), name.as_bytes());
        }
    }
}
