//! The look-up against the documented rule in its plainest form: a search through all claims.

use proptest::prelude::*;

use crate::config::RolloutConfig;
use crate::table::RoutingTable;
use crate::testing::{config, rollout};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Path {
    Prefix(String),
    Exact(String),
    Template(String),
}

/// A claim: a host as it stands in a configuration, and a path.
type Claim = (String, Path);

/// How specific a path is where it fits. From left to right, a literal segment (3) is better than a named one (2); at
/// the end of what is said, the path itself (1) is better than what it lies below (0), and any further segment that is
/// said is better than both.
fn path_rank(pattern: &Path, path: &str) -> Option<Vec<u8>> {
    let path = path.split(['?', '#']).next().unwrap();
    let (said, below, named) = match pattern {
        Path::Prefix(prefix) => (prefix.trim_end_matches('/'), true, false),
        Path::Exact(path) => (path.as_str(), false, false),
        Path::Template(template) => match template.strip_suffix("/**") {
            Some(template) => (template, true, true),
            None => (template.as_str(), false, true),
        },
    };
    let mut given = path.strip_prefix('/').map(|rest| rest.split('/'));
    let mut rank = Vec::new();
    let said = said.strip_prefix('/').map(|rest| rest.split('/'));
    for segment in said.into_iter().flatten() {
        let given = given.as_mut()?.next()?;
        if named && segment.starts_with('{') {
            if given.is_empty() {
                return None;
            }
            rank.push(2);
        } else if given == segment {
            rank.push(3);
        } else {
            return None;
        }
    }
    let ended = given.is_some_and(|mut rest| rest.next().is_none());
    match (below, ended) {
        (true, _) => rank.push(0),
        (false, true) => rank.push(1),
        (false, false) => return None,
    }
    Some(rank)
}

/// How specific a host is where it fits: exact, then by the length of the suffix, then the star.
fn host_rank(said: &str, given: &str) -> Option<usize> {
    let (said, given) = (said.to_ascii_lowercase(), given.to_ascii_lowercase());
    let given = given
        .split_once(':')
        .map_or(given.as_str(), |(name, _)| name);
    match said.strip_prefix('*') {
        Some("") => Some(0),
        Some(suffix) => {
            (given.len() > suffix.len() && given.ends_with(suffix)).then_some(suffix.len())
        }
        None => (said == given).then_some(usize::MAX),
    }
}

/// Position of the claim that takes a request.
fn search(claims: &[Claim], host: &str, path: &str) -> Option<usize> {
    let best = claims
        .iter()
        .filter_map(|(said, _)| host_rank(said, host))
        .max()?;
    let of_host = claims
        .iter()
        .enumerate()
        .filter(|(_, (said, _))| host_rank(said, host) == Some(best));
    let fitting =
        of_host.filter_map(|(index, (_, pattern))| Some((path_rank(pattern, path)?, index)));
    fitting.max().map(|(_, index)| index)
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        "(/[ab]{1,2}){0,3}/?".prop_map(|it| Path::Prefix(if it.is_empty() {
            "/".to_owned()
        } else {
            it
        })),
        "(/[ab]{1,2}){0,3}/?".prop_map(|it| Path::Exact(if it.is_empty() {
            "/".to_owned()
        } else {
            it
        })),
        r"(/([ab]|\{[xy]\})){1,4}(/\*\*)?".prop_map(Path::Template),
    ]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r"[mM]\.(ml|svc)",
        2 => r"\*\.(ml|[mM]\.ml|svc)",
        1 => Just("*".to_owned()),
    ]
}

/// Claims of which no two are the same (as the configuration has to say it).
fn claims() -> impl Strategy<Value = Vec<Claim>> {
    prop::collection::vec((host(), path()), 1..16).prop_map(|claims| {
        let mut kept: Vec<Claim> = Vec::new();
        for claim in claims {
            let mut rollouts: Vec<_> = kept.iter().map(configured).collect();
            rollouts.push(configured(&claim));
            if RoutingTable::new(config(named(rollouts))).is_ok() {
                kept.push(claim);
            }
        }
        kept
    })
}

fn configured((host, path): &Claim) -> RolloutConfig {
    let mut it = rollout("ml/claim", host);
    match path.clone() {
        Path::Prefix(path) => it.path_prefix = Some(path),
        Path::Exact(path) => it.path = Some(path),
        Path::Template(path) => it.path_template = Some(path),
    }
    it
}

fn named(mut rollouts: Vec<RolloutConfig>) -> Vec<RolloutConfig> {
    for (index, rollout) in rollouts.iter_mut().enumerate() {
        rollout.name = format!("ml/{index}");
    }
    rollouts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn look_up_agrees_with_a_search_through_all_claims(
        claims in claims(),
        requests in prop::collection::vec((r"[mM]?\.?[mx]?\.?(ml|svc)(:80)?", r"(/[abx]{0,2}){0,5}/?([?#]/a)?"), 1..32),
    ) {
        let table = RoutingTable::new(config(named(claims.iter().map(configured).collect()))).unwrap();
        for (host, path) in requests {
            let found = table.find(host.as_bytes(), || Some(path.as_bytes()));
            prop_assert_eq!(found, search(&claims, &host, &path), "{} {}", host, path);
        }
    }

    #[test]
    fn no_bytes_make_the_look_up_panic(host: Vec<u8>, path: Vec<u8>) {
        let claims = [("h".to_owned(), Path::Prefix("/a/b".to_owned())), ("*.h".to_owned(), Path::Template("/{x}/**".to_owned()))];
        let table = RoutingTable::new(config(named(claims.iter().map(configured).collect()))).unwrap();
        table.find(&host, || Some(&path));
        let found = table.find(b"h", || Some(&path));
        prop_assert_eq!(found.is_some(), path.starts_with(b"/a/b") && matches!(path.get(4), None | Some(b'/' | b'?' | b'#')));
    }
}
