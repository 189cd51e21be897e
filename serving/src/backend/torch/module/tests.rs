#[path = "../../../../tests/it/models/source.rs"]
#[allow(dead_code, reason = "the tests with the process need more of it")]
mod source;

use tch::{CModule, Device, Kind};
use tempfile::TempDir;

use super::*;

/// A model that looks up `rows` by its input, and returns `value` of type `kind`. It throws for a token outside of [0, 4).
fn saved(kind: &str, value: &str) -> (TempDir, std::path::PathBuf) {
    let table = Tensor::arange(4, (Kind::Float, Device::Cpu)).reshape([4, 1]);
    let tokens = [Tensor::zeros([1], (Kind::Int64, Device::Cpu))];
    let module = CModule::create_by_tracing("M", "forward", &tokens, &mut |inputs: &[Tensor]| {
        vec![Tensor::embedding(&table, &inputs[0], -1, false, false)]
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.pt");
    module.unwrap().save(&file).unwrap();
    source::returning(&file, kind, value);
    (dir, file)
}

fn forward(file: &Path, tokens: &[i64]) -> Result<Returned, TchError> {
    let module = Module::load(file, Device::Cpu).unwrap();
    module.forward(&[Value::tensor(&Tensor::from_slice(tokens))?])
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.flatten(0, -1).to_kind(Kind::Double)).unwrap()
}

fn ordered(returned: Result<Returned, TchError>) -> Vec<Vec<f64>> {
    match returned.unwrap() {
        Returned::Ordered(tensors) => tensors.iter().map(values).collect(),
        Returned::Named(_) => panic!("they have names"),
    }
}

#[test]
fn a_tensor_a_tuple_and_a_list_are_returned_in_their_order() {
    let (rows, doubled) = (vec![2.0, 3.0], vec![4.0, 6.0]);
    let both = vec![rows.clone(), doubled];
    for (kind, value, wanted) in [
        ("Tensor", "rows", vec![rows]),
        (
            "Tuple[Tensor, Tensor]",
            "(rows, torch.add(rows, rows))",
            both.clone(),
        ),
        ("List[Tensor]", "[rows, torch.add(rows, rows)]", both),
    ] {
        let (_dir, file) = saved(kind, value);
        assert_eq!(ordered(forward(&file, &[2, 3])), wanted, "{kind}");
    }
}

#[test]
fn a_dict_is_returned_by_name() {
    let value = r#"{"twice": torch.add(rows, rows), "rows": rows}"#;
    let (_dir, file) = saved("Dict[str, Tensor]", value);
    let Returned::Named(named) = forward(&file, &[2]).unwrap() else {
        panic!("they have no names");
    };
    let named: Vec<_> = named
        .iter()
        .map(|(name, it)| (name.as_str(), values(it)))
        .collect();
    assert_eq!(named, [("twice", vec![4.0]), ("rows", vec![2.0])]);
}

#[test]
fn whatever_is_no_tensor_is_refused_and_the_thread_goes_on() {
    for (kind, value) in [
        ("int", "7"),
        ("Tuple[Tensor, int]", "(rows, 7)"),
        ("Dict[int, Tensor]", "{7: rows}"),
        ("Optional[Tensor]", "None"),
        ("Device", r#"torch.device("cpu")"#),
    ] {
        let (_dir, file) = saved(kind, value);
        let error = forward(&file, &[2]).unwrap_err().to_string();
        assert!(error.contains("must return a tensor"), "{kind}: {error}");
        assert!(check().is_ok(), "no error is left over");
    }
}

#[test]
fn what_a_forward_that_fails_was_given_is_freed() {
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    let (_dir, file) = saved("Tuple[Tensor, Tensor]", "(rows, rows)");
    let module = Module::load(&file, Device::Cpu).unwrap();
    let fail = || {
        // Half a MiB each: a leak would be 500 MiB. The other tests of this process have less.
        let tokens = Tensor::full([1 << 16], 9, (Kind::Int64, Device::Cpu));
        let tokens = Value::tensor(&tokens).unwrap();
        assert!(module.forward(&[tokens]).is_err());
    };
    (0..20).for_each(|_| fail());
    let before = resident();
    (0..1_000).for_each(|_| fail());
    let grown = resident().saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes more");
}
