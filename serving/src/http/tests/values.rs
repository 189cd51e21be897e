//! Values that are counted by the bins of a reference.

use super::*;
use crate::{reference::Reference, tensor::Datatype};

fn bin(role: &str, tensor: &str, bin: &str, version: u8) -> String {
    format!(r#"{{bin="{bin}",model="fraud",role="{role}",tensor="{tensor}",version="{version}"}}"#)
}

#[tokio::test]
async fn values_of_answered_requests_are_counted_beside_their_reference() {
    let mut spec = fake::spec();
    let reference = Reference::new(Datatype::Fp32, vec![2.0, 3.0], &[30.0, 10.0, 0.0]);
    let reference = reference.unwrap();
    spec.inputs[0].reference = Some(reference.clone());
    spec.outputs[0].reference = Some(reference);
    let server = Server::start_of(spec, PathBuf::new(), 8, |_| ()).await;
    // x is (first, 1.5), and y twice that.
    for first in [2.0, 4.0] {
        assert_eq!(server.infer(first).await.status, 200);
    }
    assert_eq!(server.infer(fake::FAIL).await.status, 500);
    let counted = [
        ("input", "x", "2.0", 3),
        ("input", "x", "3.0", 0),
        ("input", "x", "+Inf", 1),
        ("input", "x", "NaN", 0),
        ("output", "y", "2.0", 0),
        ("output", "y", "3.0", 2),
        ("output", "y", "+Inf", 2),
        ("output", "y", "NaN", 0),
    ];
    let counted = counted.map(|(role, tensor, upper, count)| {
        let labels = bin(role, tensor, upper, 9);
        format!("serin_serve_values_total{labels} {count}\n")
    });
    let shares = [("2.0", 0.75), ("3.0", 0.25), ("+Inf", 0.0)].map(|(upper, share)| {
        let labels = bin("output", "y", upper, 7);
        format!("serin_serve_reference_share{labels} {share}\n")
    });
    let lines: Vec<_> = counted.iter().chain(&shares).map(String::as_str).collect();
    server.assert_counted(&lines).await;
    let metrics = server.metrics().await;
    assert!(!metrics.contains(r#"tensor="n""#), "{metrics}");
    server.stop().await;
}
