use super::*;
use crate::cluster::routes::LIVE;

fn id() -> ObjectId {
    ObjectId {
        kind: Kind::VirtualService,
        namespace: "ml".to_owned(),
        name: "fraud".to_owned(),
    }
}

fn kept(object: &Value) -> Present {
    Present::of(Kind::VirtualService, object)
}

#[test]
fn what_the_server_adds_is_no_difference() {
    let owned = Owned::new(id(), json!({"hosts": ["a"]})).annotated(LIVE, "1".to_owned());
    let mut present = owned.object.clone();
    present["metadata"]["resourceVersion"] = json!("5");
    present["metadata"]["labels"]["theirs"] = json!("1");
    present["metadata"]["annotations"]["theirs"] = json!("1");
    present["status"] = json!({});
    assert!(owned.is(&kept(&present)));
}

#[test]
fn spec_label_and_annotation_are_ours_to_keep() {
    let owned = Owned::new(id(), json!({"hosts": ["a"]})).annotated(LIVE, "1".to_owned());
    for (pointer, value) in [
        ("/spec/hosts", json!(["b"])),
        ("/metadata/labels", json!({})),
        ("/metadata/annotations/serin.dev~1live", json!("2")),
    ] {
        let mut present = owned.object.clone();
        *present.pointer_mut(pointer).unwrap() = value;
        assert!(!owned.is(&kept(&present)), "{pointer}");
    }
}

#[test]
fn ours_are_those_with_our_label() {
    assert!(is_ours(&Owned::new(id(), json!({})).object));
    assert!(!is_ours(
        &json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "helm"}}})
    ));
    assert!(!is_ours(&json!({"metadata": {}})));
}

#[test]
fn names_are_label_values_and_differ_where_hosts_differ() {
    let long = "x".repeat(300);
    let hosts = ["fraud.ml", "fraud-ml", "*.ml", "*", &long, "ÄÖ.ml"];
    let names = hosts.map(name);
    for name in &names {
        let plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
        assert!(name.len() <= LONGEST && name.chars().all(plain), "{name}");
        assert!(!name.ends_with('-'), "{name}");
    }
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), hosts.len());
    assert!(names[0].starts_with("serin-fraud-ml-"));
}

#[test]
fn the_order_of_fields_and_the_way_a_number_is_written_make_no_difference() {
    let object = |spec: &str| -> Value {
        let spec: Value = serde_json::from_str(spec).unwrap();
        json!({"spec": spec})
    };
    let one = Print::of(&object(r#"{"a": 100.0, "b": [1, -2.5]}"#));
    assert!(one.is(&Print::of(&object(r#"{"b": [1.0, -2.5], "a": 100}"#))));
    for other in [
        r#"{"a": 100, "b": [-2.5, 1]}"#,
        r#"{"a": "100", "b": [1, -2.5]}"#,
        r#"{"a": 100, "b": [[1], -2.5]}"#,
        r#"{"a": 100, "b": [1, -2.5], "c": null}"#,
    ] {
        assert!(!one.is(&Print::of(&object(other))), "{other}");
    }
}
