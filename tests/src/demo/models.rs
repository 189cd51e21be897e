//! The three versions of the fraud model: trained in seconds, saved as TorchScript in the layout of `serin-serve`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tch::{CModule, Tensor};

use super::network::{self, Architecture, Batch, Network};
use super::transactions::{COUNTRIES, KNOWN_COUNTRIES, Transaction, Transactions, auc};

/// The name of the model in the repository and in request paths.
pub const MODEL: &str = "fraud";

/// What serin-serve has to know about the inputs and the output of every version.
const DESCRIPTION: &str = "\
inputs:
  - {name: features, datatype: FP32, shape: [-1, 7]}
  - {name: country, datatype: INT64, shape: [-1]}
outputs:
  - {name: score, datatype: FP32, shape: [-1]}
";

/// A version that was trained and saved.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number, as the server reports it.
    pub number: u32,
    /// The model repository that holds this version alone.
    pub repository: PathBuf,
    /// Area under the ROC curve on the hold-out set, which is the older export: it lacks the new countries.
    pub auc: f64,
}

/// How long to train on how much.
#[derive(Debug, Clone, Copy)]
pub struct Training {
    /// Transactions to learn from.
    pub transactions: usize,
    /// Transactions held out to measure with.
    pub hold_out: usize,
    /// How often each is seen.
    pub epochs: usize,
    /// Fixes data, start and order.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Training {
        Training {
            transactions: 40_000,
            hold_out: 20_000,
            epochs: 8,
            seed: 20,
        }
    }
}

/// Trains versions 7, 8 and 9 and saves each as a repository of its own, `<folder>/v<number>`:
///
/// * 7, the one in service: a logistic regression with a weight for each country;
/// * 8, a good successor: a small network that sees the interactions;
/// * 9, a bad one: a larger network that looks as good on the hold-out set, but was trained on the older export, so
///   that its table ends before the new countries and libtorch refuses them with `index out of range in self`.
///
/// # Errors
/// When libtorch fails, a file cannot be written, or a saved module does not do what the network did.
pub fn train(folder: &Path, training: Training) -> Result<[Version; 3]> {
    // Batches are small: a second thread gains nothing, and where cores are shared waiting for it costs twenty times
    // the training (measured).
    tch::set_num_threads(1);
    let mut source = Transactions::new(training.seed);
    let all = source.take(training.transactions, COUNTRIES);
    let older: Vec<Transaction> = all
        .iter()
        .filter(|one| one.country < KNOWN_COUNTRIES)
        .cloned()
        .collect();
    let hold_out = source.take(training.hold_out, KNOWN_COUNTRIES);
    let build = |number, countries, embedding, hidden: &[i64], learnt: &[Transaction]| {
        let architecture = Architecture {
            countries,
            embedding,
            hidden: hidden.to_vec(),
        };
        version(folder, number, &architecture, learnt, &hold_out, training)
            .with_context(|| format!("failed to make version {number}"))
    };
    Ok([
        build(7, COUNTRIES, 1, &[], &all)?,
        build(8, COUNTRIES, 4, &[32, 16], &all)?,
        build(9, KNOWN_COUNTRIES, 8, &[64, 32], &older)?,
    ])
}

fn version(
    folder: &Path,
    number: u32,
    architecture: &Architecture,
    learnt: &[Transaction],
    hold_out: &[Transaction],
    training: Training,
) -> Result<Version> {
    let seed = training.seed + u64::from(number);
    let mut network = network::train(architecture, learnt, training.epochs, seed)?;
    let repository = folder.join(format!("v{number}"));
    let model = repository.join(MODEL);
    let path = model.join(number.to_string());
    fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    let description = model.join("model.yaml");
    fs::write(&description, DESCRIPTION)
        .with_context(|| format!("failed to write {}", description.display()))?;
    let file = path.join("model.pt");
    save(&mut network, &file)?;
    let auc = measure(&file, &network, hold_out)?;
    Ok(Version {
        number,
        repository,
        auc,
    })
}

/// Traces the network with a batch of three and saves it.
fn save(network: &mut Network, file: &Path) -> Result<()> {
    // Tracing takes parameters that want a gradient for inputs of the trace, and refuses.
    network.store.freeze();
    let example = Batch::new(&Transactions::new(0).take(3, KNOWN_COUNTRIES))?;
    let mut forward = |inputs: &[Tensor]| match inputs {
        [features, country] => vec![network.logits(features, country).sigmoid()],
        // The tracer hands over what it was given below.
        _ => Vec::new(),
    };
    let inputs = [example.features, example.country];
    CModule::create_by_tracing("Fraud", "forward", &inputs, &mut forward)
        .context("failed to trace the network")?
        .save(file)
        .with_context(|| format!("failed to save {}", file.display()))
}

/// Loads the module again, holds its scores against the network's at two batch sizes it was not traced with, and
/// returns its AUC.
fn measure(file: &Path, network: &Network, hold_out: &[Transaction]) -> Result<f64> {
    let module =
        CModule::load(file).with_context(|| format!("failed to load {}", file.display()))?;
    let Some(first) = hold_out.first() else {
        bail!("the hold-out set is empty")
    };
    let mut scores = Vec::new();
    for batch in [std::slice::from_ref(first), hold_out] {
        let batch = Batch::new(batch)?;
        let saved = module
            .forward_ts(&[&batch.features, &batch.country])
            .context("failed to run the saved module")?;
        let meant = network.logits(&batch.features, &batch.country).sigmoid();
        ensure!(
            saved.allclose(&meant, 1e-4, 1e-6, false),
            "the saved module scores differently"
        );
        scores = network::numbers(&saved)?;
    }
    let scored: Vec<(f64, bool)> = scores
        .into_iter()
        .zip(hold_out)
        .map(|(score, one)| (score, one.fraud))
        .collect();
    auc(&scored).context("the hold-out set has no fraud or nothing else")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::transactions::NO_COUNTRY;
    use crate::world::World;

    fn score(version: &Version, countries: &[i64]) -> Result<Vec<f64>> {
        let file = version
            .repository
            .join(MODEL)
            .join(version.number.to_string())
            .join("model.pt");
        let mut source = Transactions::new(1);
        let transactions: Vec<Transaction> = countries
            .iter()
            .map(|&country| source.draw(country))
            .collect();
        let batch = Batch::new(&transactions)?;
        network::numbers(&CModule::load(file)?.forward_ts(&[&batch.features, &batch.country])?)
    }

    // One test: libtorch's generator is the process's, so trainings do not run side by side.
    #[test]
    fn the_successor_is_better_and_the_bad_version_only_knows_the_older_countries() {
        let world = World::new("models").unwrap();
        let training = Training::default();
        let start = std::time::Instant::now();
        let versions = train(world.path(), training).unwrap();
        println!("trained in {:?}: {versions:?}", start.elapsed());
        let [seven, eight, nine] = &versions;

        assert!(
            seven.auc > 0.55 && eight.auc > seven.auc + 0.1,
            "{versions:?}"
        );
        assert!(nine.auc > eight.auc - 0.01, "{versions:?}");

        let known: Vec<i64> = (0..KNOWN_COUNTRIES).collect();
        let new: Vec<i64> = (KNOWN_COUNTRIES..COUNTRIES).collect();
        for version in &versions {
            let scores = score(version, &known).unwrap();
            assert_eq!(scores.len(), known.len());
            assert!(
                scores.iter().all(|score| (0.0..=1.0).contains(score)),
                "{scores:?}"
            );
            refused(version, &[0, NO_COUNTRY]);
        }
        assert_eq!(score(seven, &new).unwrap().len(), new.len());
        assert_eq!(score(eight, &new).unwrap().len(), new.len());
        for country in new {
            refused(nine, &[country]);
        }
    }

    #[track_caller]
    fn refused(version: &Version, countries: &[i64]) {
        let error = format!("{:#}", score(version, countries).unwrap_err());
        assert!(error.contains("index out of range in self"), "{error}");
    }
}
