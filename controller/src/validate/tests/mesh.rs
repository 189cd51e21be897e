use super::*;
use crate::fixtures::{in_mesh, source};

#[track_caller]
fn refused(from: &str, to: &str, path: &str, reason: &str) {
    let text = in_mesh();
    assert!(text.contains(from), "the fixture does not hold {from:?}");
    check_text(&text.replacen(from, to, 1), path, reason);
}

#[test]
fn a_subset_of_the_first_host_is_a_route() {
    let plan = source(&in_mesh()).plan;
    let mesh = plan.mesh.unwrap();
    assert_eq!(
        (mesh.manage, mesh.host.as_str()),
        (true, "fraud.ml.svc.cluster.local")
    );
    assert_eq!(plan.canary.route, "v8");
    assert_eq!(plan.canary.cluster(), "|v8|fraud.ml.svc.cluster.local");
    let labels = plan.canary.destination.unwrap().labels;
    assert_eq!(labels.get("version").map(String::as_str), Some("v8"));
}

#[test]
fn the_service_is_the_host_with_its_full_name_wherever_it_stands() {
    let full = "hosts: [fraud.ml.svc.cluster.local]";
    let both = "hosts: [fraud, fraud.ml, fraud.ml.svc.cluster.local]";
    let plan = source(&in_mesh().replacen(full, both, 1)).plan;
    assert_eq!(plan.mesh.unwrap().host, "fraud.ml.svc.cluster.local");
    for short in ["fraud.ml", "fraud.ml.svc"] {
        let hosts = format!("hosts: [{short}]");
        refused(
            full,
            &hosts,
            "spec.route.host",
            "fraud.ml.svc.cluster.local",
        );
    }
    let other = in_mesh().replacen(full, "hosts: [models.example.com]", 1);
    assert_eq!(source(&other).plan.mesh.unwrap().host, "models.example.com");
}

#[test]
fn a_service_of_its_own_is_a_route() {
    let text = in_mesh().replacen("{subset: v8}", "{host: Fraud-8.ml}", 1);
    let canary = source(&text).plan.canary;
    assert_eq!(canary.route, "fraud-8.ml");
    assert_eq!(canary.cluster(), "||fraud-8.ml");
}

#[test]
fn what_only_the_mesh_can_do_is_refused_elsewhere() {
    let only = [
        ("route: {manage: false}", "spec.route.manage"),
        ("scope: [shop]", "spec.scope"),
        ("route: {gateways: [a/b]}", "spec.route.gateways"),
        ("route: {host: x}", "spec.route.host"),
        ("route: {trafficPolicy: {}}", "spec.route.trafficPolicy"),
    ];
    for (field, path) in only {
        let to = format!("  {field}\n  variants:");
        check("  variants:", &to, path, "is for the mesh");
    }
}

#[test]
fn clusters_and_subsets_are_not_mixed() {
    refused(
        "{subset: v8}",
        "{cluster: x}",
        "spec.variants[1].route.cluster",
        "is for standalone",
    );
    refused(
        "{subset: v8}",
        "{}",
        "spec.variants[1].route",
        "must say 'subset'",
    );
    refused(
        "{subset: v8}",
        "{subset: v7}",
        "spec.variants[1].route.subset",
        "belongs to one version",
    );
}

#[test]
fn labels_need_a_subset() {
    refused(
        "{subset: v8}",
        "{host: a.b, labels: {x: y}}",
        "spec.variants[1].route.labels",
        "name the 'subset'",
    );
}

#[test]
fn a_service_must_be_known() {
    refused(
        "hosts: [fraud.ml.svc.cluster.local]",
        "hosts: ['*.ml']",
        "spec.route.host",
        "must name the service",
    );
}

#[test]
fn a_gateway_has_a_namespace() {
    refused(
        "  variants:",
        "  route: {gateways: [public]}\n  variants:",
        "spec.route.gateways[0]",
        "namespace/name",
    );
}

#[test]
fn the_traffic_policy_of_a_rule_that_is_not_ours_is_not_ours() {
    refused(
        "  variants:",
        "  route: {manage: false, trafficPolicy: {}}\n  variants:",
        "spec.route.trafficPolicy",
        "is yours",
    );
}

#[test]
fn copies_for_another_cluster_are_standalone_only() {
    refused(
        "  variants:",
        "  shadow: {cluster: x, sample: 10%}\n  variants:",
        "spec.shadow",
        "strategy.shadow",
    );
}

#[test]
fn a_quorum_is_a_share_above_nothing() {
    for quorum in ["0", "150%"] {
        let to = format!("  quorum: {quorum}\n  variants:");
        check("  variants:", &to, "spec.quorum", "more than 0%");
    }
}
