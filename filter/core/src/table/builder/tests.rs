use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Builder;
use crate::config::{ConfigError, Parts};
use crate::table::RoutingTable;
use crate::testing;

fn text(generation: u64, rollouts: &[Value]) -> Vec<u8> {
    let config = json!({"version": 1, "generation": generation, "rollouts": rollouts});
    config.to_string().into_bytes()
}

fn build(before: Option<&RoutingTable>, json: &[u8]) -> Result<RoutingTable, ConfigError> {
    let parts = Parts::parse(json)?;
    let count = parts.rollouts.len();
    let mut builder = match before {
        Some(before) => Builder::after(before, &parts.head, count)?,
        None => Builder::new(&parts.head, count)?,
    };
    while builder.step(&parts, json)?.is_some() {}
    Ok(builder.finish())
}

fn rollout(name: &str, host: &str) -> Value {
    serde_json::to_value(testing::rollout(name, host)).unwrap()
}

fn rollouts(count: usize) -> Vec<Value> {
    let numbers = 0..count;
    let rollout = |it| rollout(&format!("ml/m{it}"), &format!("m{it}.ml"));
    numbers.map(rollout).collect()
}

/// For each rollout of the second table, whether it is that of the first table by this name, and not made again.
fn shared(before: &RoutingTable, after: &RoutingTable) -> Vec<bool> {
    let same = |it: &Arc<_>| before.rollouts().iter().any(|other| Arc::ptr_eq(it, other));
    after.rollouts().iter().map(same).collect()
}

#[test]
fn a_change_of_one_rollout_makes_that_one_again_and_nothing_else() {
    let mut all = rollouts(5);
    let before = build(None, &text(1, &all)).unwrap();
    all[2]["salt"] = json!("other");
    let after = build(Some(&before), &text(2, &all)).unwrap();
    assert_eq!(shared(&before, &after), [true, true, false, true, true]);
    assert!(Arc::ptr_eq(&before.index, &after.index));
    assert_eq!(after.generation(), 2);
}

#[test]
fn what_stands_behind_a_rollout_that_came_or_went_is_not_made_again() {
    let all = rollouts(4);
    let before = build(None, &text(1, &all)).unwrap();

    let mut more = all.clone();
    more.insert(1, rollout("ml/new", "new.ml"));
    let after = build(Some(&before), &text(2, &more)).unwrap();
    assert_eq!(shared(&before, &after), [true, false, true, true, true]);
    assert_eq!(after.find(b"m3.ml", || None), Some(4));

    // The one that takes the place of one that went is read before it is known, and after it they are in step again.
    let mut less = all.clone();
    less.remove(1);
    let after = build(Some(&before), &text(2, &less)).unwrap();
    assert_eq!(shared(&before, &after), [true, false, true]);
    assert_eq!(after.find(b"m1.ml", || None), None);
    assert_eq!(after.find(b"m3.ml", || None), Some(2));

    let after = build(Some(&before), &text(2, &all[..2])).unwrap();
    assert_eq!(shared(&before, &after), [true, true]);
    assert_eq!(after.find(b"m3.ml", || None), None);
}

#[test]
fn nothing_is_shared_when_the_filters_own_headers_change() {
    let mut first = rollout("ml/a", "a");
    first["key"] = json!([{"header": "x-other"}]);
    let before = build(None, &text(1, &[first.clone()])).unwrap();
    let json =
        json!({"version": 1, "generation": 2, "routeHeader": "x-other", "rollouts": [first]});
    let error = build(Some(&before), json.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.field, "rollouts[0].key[0].header");
}

#[test]
fn the_work_for_a_rollout_is_told_by_the_length_of_its_text() {
    let json = text(1, &rollouts(3));
    let parts = Parts::parse(&json).unwrap();
    let mut builder = Builder::new(&parts.head, 3).unwrap();
    let mut read = 0;
    while let Some(bytes) = builder.step(&parts, &json).unwrap() {
        read += bytes;
    }
    let lengths = parts.rollouts.iter().map(|it| it.len());
    assert_eq!(read, lengths.sum::<usize>());
}

/// Few names, hosts and paths, so that they meet, and now and then a mistake.
fn any_rollout() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        10 => Just(Value::Null),
        4 => Just(json!("/a")),
        4 => Just(json!("/a/b")),
        1 => Just(json!("no slash")),
    ];
    let other = prop::option::weighted(0.2, 0..20_u8);
    (0..20_u8, other, path, 0..3_u8, prop::bool::weighted(0.9)).prop_map(
        |(name, other, path, salt, enabled)| {
            let mut it = rollout(&format!("ml/{name}"), "a");
            let hosts = [name].into_iter().chain(other);
            let hosts: Vec<String> = hosts.map(|it| format!("h{it}.ml")).collect();
            it["hosts"] = json!(hosts);
            it["pathPrefix"] = path;
            it["salt"] = json!(salt.to_string());
            it["enabled"] = json!(enabled);
            it
        },
    )
}

/// What happens to a list of rollouts from one configuration to the next.
#[derive(Clone, Debug)]
enum Edit {
    Replace(usize, Value),
    Insert(usize, Value),
    Remove(usize),
    Swap(usize, usize),
    Cut(usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (0..8_usize, any_rollout()).prop_map(|(at, it)| Edit::Replace(at, it)),
        (0..8_usize, any_rollout()).prop_map(|(at, it)| Edit::Insert(at, it)),
        (0..8_usize).prop_map(Edit::Remove),
        (0..8_usize, 0..8_usize).prop_map(|(a, b)| Edit::Swap(a, b)),
        (1..8_usize).prop_map(Edit::Cut),
    ]
}

impl Edit {
    fn of(&self, rollouts: &mut Vec<Value>) {
        let len = rollouts.len();
        match self {
            Self::Replace(at, it) if *at < len => rollouts[*at] = it.clone(),
            Self::Insert(at, it) => rollouts.insert((*at).min(len), it.clone()),
            Self::Remove(at) if *at < len => drop(rollouts.remove(*at)),
            Self::Swap(a, b) if *a < len && *b < len => rollouts.swap(*a, *b),
            Self::Cut(to) => rollouts.truncate(*to),
            _ => {}
        }
    }
}

/// All that a table says.
fn answers(table: &RoutingTable) -> Vec<String> {
    let rollouts = table.rollouts().iter().map(|it| format!("{it:?}"));
    let names = (0..20).map(|it| {
        format!(
            "{:?}",
            table.by_name(&format!("ml/{it}")).map(|it| it.name())
        )
    });
    let hosts = (0..20).flat_map(|host| ["/", "/a", "/a/b", "/a/c"].map(|path| (host, path)));
    let found = hosts.map(|(host, path)| {
        let host = format!("h{host}.ml");
        format!(
            "{:?}",
            table.find(host.as_bytes(), || Some(path.as_bytes()))
        )
    });
    rollouts.chain(names).chain(found).collect()
}

proptest! {
    #[test]
    fn a_table_after_another_is_the_table_made_from_nothing(
        first in prop::collection::vec(any_rollout(), 0..8),
        updates in prop::collection::vec(prop::collection::vec(any_edit(), 0..3), 1..6),
    ) {
        let mut rollouts = first;
        let mut before = RoutingTable::default();
        for (generation, edits) in (1..).zip(updates) {
            edits.iter().for_each(|edit| edit.of(&mut rollouts));
            let json = text(generation, &rollouts);
            match (build(Some(&before), &json), build(None, &json)) {
                (Ok(after), Ok(fresh)) => {
                    prop_assert_eq!(answers(&after), answers(&fresh));
                    prop_assert_eq!(after.generation(), fresh.generation());
                    before = after;
                }
                // The last good one stays.
                (after, fresh) => prop_assert_eq!(after.err(), fresh.err()),
            }
        }
    }
}
