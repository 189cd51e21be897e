use serde_json::json;

use super::*;
use crate::cluster::object::Kind;
use crate::fixtures::{in_mesh, started_with};

const HOST: &str = "fraud.ml.svc.cluster.local";

fn id() -> ObjectId {
    ObjectId {
        kind: Kind::VirtualService,
        namespace: "ml".to_owned(),
        name: "fraud".to_owned(),
    }
}

fn to(subset: &str) -> Value {
    json!([{"destination": {"host": HOST, "subset": subset}}])
}

fn by_header(subset: &str) -> Value {
    json!({
        "match": [{"uri": {"prefix": "/v2/models/fraud"}, "headers": {"x-serin-route": {"exact": subset}}}],
        "route": to(subset)
    })
}

fn theirs(hosts: &[&str], http: &Value) -> Theirs {
    let mut theirs = Theirs::default();
    theirs.insert(id(), &json!({"spec": {"hosts": hosts, "http": http}}));
    theirs
}

fn seen(theirs: &Theirs) -> Lacking {
    let text = in_mesh().replace("  variants:", "  route: {manage: false}\n  variants:");
    let (plan, state) = started_with(&text);
    lacking(&state, plan.mesh.as_ref().unwrap(), theirs)
}

#[test]
fn routes_that_follow_the_header_lack_nothing() {
    let http = json!([by_header("v7"), by_header("v8"), {"route": to("v7")}]);
    assert_eq!(seen(&theirs(&[HOST], &http)), Lacking::default());
    // A short name is one of the object's namespace.
    assert_eq!(seen(&theirs(&["fraud"], &http)), Lacking::default());
}

#[test]
fn every_host_must_be_routed_so_by_all_that_route_it() {
    let text = in_mesh()
        .replace(
            "  variants:",
            "  route: {manage: false, gateways: [ml/out, mesh]}\n  variants:",
        )
        .replace(&format!("[{HOST}"), &format!("[shop.example.com, {HOST}"));
    let (plan, state) = started_with(&text);
    let good = json!([by_header("v7"), by_header("v8"), {"route": to("v7")}]);
    let mut found = theirs(&[HOST], &good);
    let seen = |theirs: &Theirs| lacking(&state, plan.mesh.as_ref().unwrap(), theirs);
    let header = seen(&found).header.unwrap();
    assert!(
        header.starts_with("no VirtualService routes shop.example.com"),
        "{header}"
    );
    // At the gateway, by a name with a wildcard, and to the service by its short name.
    let outside = ObjectId {
        name: "outside".to_owned(),
        ..id()
    };
    let mut short = good.clone();
    for route in short.as_array_mut().unwrap() {
        route["route"][0]["destination"]["host"] = json!("fraud");
    }
    let spec = |http: &Value| json!({"spec": {"hosts": ["*.example.com"], "gateways": ["out"], "http": http}});
    found.insert(outside.clone(), &spec(&short));
    assert_eq!(seen(&found), Lacking::default());
    found.insert(outside, &spec(&json!([{"route": to("v7")}])));
    let header = seen(&found).header.unwrap();
    assert!(header.starts_with("VirtualService ml/outside"), "{header}");
}

#[test]
fn of_several_for_a_host_those_without_its_paths_have_no_say() {
    let good = json!([by_header("v7"), by_header("v8"), {"match": [{"uri": {"prefix": "/v2/models/fraud"}}], "route": to("v7")}]);
    let web = json!([{"match": [{"uri": {"prefix": "/web"}}], "route": to("web")}]);
    let redirects = json!([{"redirect": {"scheme": "https"}}]);
    for others in [web, redirects] {
        let mut found = theirs(&[HOST], &good);
        let id = ObjectId {
            name: "another".to_owned(),
            ..id()
        };
        let spec = json!({"spec": {"hosts": [HOST], "http": others}});
        found.insert(id.clone(), &spec);
        assert_eq!(seen(&found), Lacking::default());
        let mut alone = Theirs::default();
        alone.insert(id, &spec);
        let header = seen(&alone).header.unwrap();
        assert!(header.starts_with("no VirtualService routes"), "{header}");
    }
}

#[test]
fn a_catch_all_at_a_gateway_says_nothing_of_what_is_live_in_the_mesh() {
    let (plan, _) = started_with(&in_mesh());
    let everything = |gateways: &Value| {
        let mut theirs = Theirs::default();
        let http = json!([{"route": [{"destination": {"host": "frontend"}}]}]);
        let spec = json!({"spec": {"hosts": ["*"], "gateways": gateways, "http": http}});
        theirs.insert(id(), &spec);
        theirs
    };
    assert_eq!(
        default_route(&plan, &everything(&json!(["frontend-gateway"]))),
        None
    );
    let found = default_route(&plan, &everything(&json!(["mesh"]))).unwrap();
    assert_eq!(found.route, "frontend.ml.svc.cluster.local");
}

#[test]
fn routes_for_other_gateways_or_for_tcp_contest_nothing() {
    let (plan, state) = started_with(&in_mesh());
    let seen = |object: &Value| {
        let mut theirs = Theirs::default();
        theirs.insert(id(), object);
        lacking(&state, plan.mesh.as_ref().unwrap(), &theirs)
    };
    let http = json!([{"route": to("v7")}]);
    for gateways in [json!(null), json!(["mesh", "other"])] {
        let spec = json!({"spec": {"hosts": [HOST], "gateways": gateways, "http": http}});
        assert!(seen(&spec).header.is_some(), "{gateways}");
    }
    for spec in [
        json!({"hosts": [HOST], "gateways": ["out"], "http": http}),
        json!({"hosts": [HOST], "tcp": http}),
    ] {
        assert_eq!(seen(&json!({"spec": spec})), Lacking::default());
    }
}

#[test]
fn a_default_route_before_the_headers_hides_them() {
    let http = json!([{"route": to("v7")}, by_header("v7"), by_header("v8")]);
    let header = seen(&theirs(&[HOST], &http)).header.unwrap();
    assert!(
        header.contains("'x-serin-route: v8' to subset 'v8' of fraud.ml.svc.cluster.local"),
        "{header}"
    );
}

#[test]
fn a_default_route_to_another_version_is_named() {
    let http = json!([by_header("v7"), by_header("v8"), {"route": to("v8")}]);
    let lacking = seen(&theirs(&[HOST], &http));
    assert_eq!(lacking.header, None);
    assert!(lacking.default.unwrap().contains("subset 'v7'"));
}

#[test]
fn weights_of_somebody_else_are_no_default_route() {
    let split = json!([{"destination": {"host": HOST, "subset": "v7"}, "weight": 90}, {"destination": {"host": HOST, "subset": "v8"}, "weight": 10}]);
    let http = json!([by_header("v7"), by_header("v8"), {"route": split}]);
    assert!(seen(&theirs(&[HOST], &http)).default.is_some());
}

#[test]
fn a_special_case_of_theirs_is_passed_over() {
    let special = json!({"match": [{"headers": {"x-debug": {"exact": "1"}}}], "route": to("v7")});
    let http = json!([special, by_header("v7"), by_header("v8"), {"route": to("v7")}]);
    assert_eq!(seen(&theirs(&[HOST], &http)), Lacking::default());
}

#[test]
fn without_any_route_it_is_said_what_to_write() {
    let header = seen(&theirs(&["other.ml"], &json!([]))).header.unwrap();
    assert!(header.starts_with("no VirtualService routes fraud.ml.svc.cluster.local"));
}

#[test]
fn a_route_of_theirs_beside_ours_is_reported() {
    let (plan, state) = started_with(&in_mesh());
    let theirs = theirs(&[HOST], &json!([{"route": to("v7")}]));
    let found = lacking(&state, plan.mesh.as_ref().unwrap(), &theirs);
    let header = found.header.unwrap();
    assert!(header.starts_with("VirtualService ml/fraud routes the same host"));
}

#[test]
fn live_is_read_from_their_default_route() {
    let http = json!([by_header("v8"), {"route": to("v7")}]);
    let theirs = theirs(&[HOST], &http);
    let (plan, _) = started_with(&in_mesh());
    let found = default_route(&plan, &theirs).unwrap();
    assert_eq!(found.route, "v7");
}

#[test]
fn a_route_of_theirs_that_is_gone_or_has_another_host_now_is_no_route() {
    let http = json!([by_header("v7"), by_header("v8"), {"route": to("v7")}]);
    let mut found = theirs(&[HOST, "other.ml"], &http);
    found.insert(
        id(),
        &json!({"spec": {"hosts": ["other.ml"], "http": http}}),
    );
    assert!(seen(&found).header.is_some());
    found.insert(
        id(),
        &json!({"spec": {"hosts": [HOST.to_uppercase()], "http": http}}),
    );
    assert_eq!(seen(&found), Lacking::default());
    found.remove(&id());
    assert!(seen(&found).header.is_some());
}
