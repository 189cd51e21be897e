//! What a user copies from `manifests/` is accepted by the programs that it is for.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use serin_controller::render;
use serin_controller::source::parse;
use serin_filter_core::stat;
use serin_tests::tools;
use serin_tests::world::World;

use crate::promtool::{promtool, test_rules};

fn manifest(name: &str) -> PathBuf {
    tools::repository().join("manifests/standalone").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(manifest(name)).unwrap()
}

#[test]
fn the_rollout_is_valid() {
    let source = parse("rollout.yaml", &text("rollout.yaml")).unwrap();
    assert_eq!(source.plan.steps.len(), 4);
}

#[test]
fn what_the_rollout_offers_in_comments_is_valid_too() {
    let offered = [
        "    # override:",
        "    #   header:",
        "    #   trusted:",
        "  # shadow:",
    ];
    let mut taken = 0;
    let lines = text("rollout.yaml");
    let lines = lines.lines().map(|line| {
        let Some(offer) = offered.iter().find(|offer| line.starts_with(**offer)) else {
            return line.to_owned();
        };
        taken += 1;
        let (indent, field) = offer.split_once("# ").unwrap();
        let (_, rest) = line.split_at(offer.len());
        format!(
            "{indent}{field}{}",
            rest.replace("sha256: ...", &format!("sha256: {}", "0".repeat(64)))
        )
    });
    let rollout = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(taken, offered.len(), "{rollout}");
    let choice = parse("rollout.yaml", &rollout).unwrap().plan.choice;
    assert!(choice.overriding.is_some() && choice.shadow.is_some());
}

#[test]
fn envoy_accepts_its_bootstrap_with_the_controllers_files() {
    let world = World::new("manifests").unwrap();
    let folder = world.folder("serin/envoy").unwrap();
    let plugin = render::filter_config(Vec::new(), 0);
    let ecds = render::ecds(
        &serde_json::to_string(&plugin).unwrap(),
        &tools::filter().unwrap(),
    );
    std::fs::write(folder.join("ecds.json"), ecds.to_string()).unwrap();
    std::fs::write(folder.join("rds.json"), render::rds([], &[]).to_string()).unwrap();
    let output = Command::new(tools::envoy().unwrap())
        .current_dir(world.path())
        .args(["--mode", "validate", "--disable-hot-restart", "-c"])
        .arg(manifest("envoy.yaml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_bootstrap_takes_out_every_label() {
    let bootstrap = text("envoy.yaml");
    for label in stat::LABELS {
        let line = format!("{{tag_name: {label}, regex: '{}'}}", stat::tag_regex(label));
        assert!(bootstrap.contains(&line), "no line {line}");
    }
}

#[test]
fn prometheus_accepts_its_config() {
    let config = manifest("prometheus.yaml");
    promtool(&["check".as_ref(), "config".as_ref(), config.as_os_str()]);
}

#[test]
fn drift_is_the_stability_index_of_the_references_bins_over_all_replicas() {
    let labels = |bin: &str, instance: &str| {
        format!(
            r#"{{model="m",version="1",role="output",tensor="y",bin="{bin}",instance="{instance}"}}"#
        )
    };
    // Half and half where three quarters and one quarter were; beside them bins that the reference does not have.
    let mut input = Vec::new();
    for instance in ["a", "b"] {
        for (bin, share) in [("0.5", "0.75x90"), ("+Inf", "0.25x90")] {
            let labels = labels(bin, instance);
            input.push(
                json!({"series": format!("serin_serve_values_total{labels}"), "values": "0+50x90"}),
            );
            input.push(
                json!({"series": format!("serin_serve_reference_share{labels}"), "values": share}),
            );
        }
    }
    for bin in ["NaN", "0.7"] {
        let series = format!("serin_serve_values_total{}", labels(bin, "a"));
        input.push(json!({"series": series, "values": "0+500x90"}));
    }
    let index = "serin_serve:population_stability_index:1h";
    let wanted = (0.5 - 0.75) * f64::ln(0.5 / 0.75) + (0.5 - 0.25) * f64::ln(0.5 / 0.25);
    let near = format!("abs({index} - {wanted}) < bool 1e-9");
    let sample =
        json!({"labels": r#"{model="m",version="1",role="output",tensor="y"}"#, "value": 1});
    let file = json!({
        "rule_files": [tools::repository().join("manifests/serving/drift-rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": input,
            "promql_expr_test": [
                {"expr": near, "eval_time": "80m", "exp_samples": [sample]},
                // Too few values.
                {"expr": index, "eval_time": "4m", "exp_samples": []},
            ],
        }],
    });
    test_rules(&file);
}
