//! The networks of the three versions and their training.

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use super::transactions::{FEATURES, Transaction};

/// How a version is built.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// Rows of the embedding table: the country codes the version knows are below it.
    pub countries: i64,
    /// Columns of the embedding table.
    pub embedding: i64,
    /// Width of each hidden layer; none makes a logistic regression.
    pub hidden: Vec<i64>,
}

/// A network with the store that holds its parameters.
pub(super) struct Network {
    pub(super) store: nn::VarStore,
    countries: nn::Embedding,
    layers: Vec<nn::Linear>,
}

impl Network {
    pub(super) fn new(architecture: &Architecture) -> Network {
        let store = nn::VarStore::new(Device::Cpu);
        let root = store.root();
        let small = nn::EmbeddingConfig {
            ws_init: nn::Init::Randn {
                mean: 0.0,
                stdev: 0.1,
            },
            ..nn::EmbeddingConfig::default()
        };
        let countries = nn::embedding(
            &root / "countries",
            architecture.countries,
            architecture.embedding,
            small,
        );
        let mut width = FEATURES as i64 + architecture.embedding;
        let mut layers = Vec::new();
        for (index, &next) in architecture.hidden.iter().chain(&[1]).enumerate() {
            let path = &root / format!("layer{index}");
            layers.push(nn::linear(path, width, next, nn::LinearConfig::default()));
            width = next;
        }
        Network {
            store,
            countries,
            layers,
        }
    }

    /// The log-odds of fraud: features `[n, 7]` and countries `[n]` give `[n]`.
    pub(super) fn logits(&self, features: &Tensor, country: &Tensor) -> Tensor {
        let mut values = Tensor::cat(&[features, &self.countries.forward(country)], 1);
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                values = values.relu();
            }
            values = layer.forward(&values);
        }
        // The last axis, not the shape: a traced module must take any batch.
        values.squeeze_dim(1)
    }
}

/// Transactions as tensors: features `[n, 7]` FP32, country `[n]` INT64, fraud `[n]` FP32.
pub(super) struct Batch {
    pub(super) features: Tensor,
    pub(super) country: Tensor,
    fraud: Tensor,
}

impl Batch {
    pub(super) fn new<'a>(
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) -> Result<Batch> {
        let (mut features, mut country, mut fraud) = (Vec::new(), Vec::new(), Vec::new());
        for one in transactions {
            features.extend_from_slice(&one.features);
            country.push(one.country);
            fraud.push(if one.fraud { 1.0_f32 } else { 0.0 });
        }
        let features = Tensor::f_from_slice(&features)
            .and_then(|flat| flat.f_view([country.len() as i64, FEATURES as i64]))
            .context("failed to make a tensor of the features")?;
        Ok(Batch {
            features,
            country: Tensor::from_slice(&country),
            fraud: Tensor::from_slice(&fraud),
        })
    }
}

/// Transactions in one step of the optimiser.
const BATCH: usize = 512;

/// Fits a network by AdamW on the cross entropy; the seed fixes the start and the order.
pub(super) fn train(
    architecture: &Architecture,
    transactions: &[Transaction],
    epochs: usize,
    seed: u64,
) -> Result<Network> {
    // libtorch has one generator per process, so two trainings at once would share it.
    tch::manual_seed(seed as i64);
    let network = Network::new(architecture);
    let mut optimiser = nn::AdamW::default()
        .build(&network.store, 1e-2)
        .context("failed to make an optimiser")?;
    let mut order: Vec<&Transaction> = transactions.iter().collect();
    let mut rng = StdRng::seed_from_u64(seed);
    for epoch in 0..epochs {
        // A rate that falls linearly ends near the optimum without a search for a good one.
        optimiser.set_lr(1e-2 * (1.0 - epoch as f64 / epochs as f64));
        order.shuffle(&mut rng);
        for chunk in order.chunks(BATCH) {
            let batch = Batch::new(chunk.iter().copied())?;
            let loss = network
                .logits(&batch.features, &batch.country)
                .f_binary_cross_entropy_with_logits::<Tensor>(
                    &batch.fraud,
                    None,
                    None,
                    tch::Reduction::Mean,
                )
                .context("failed to compute the loss")?;
            optimiser.backward_step(&loss);
        }
    }
    Ok(network)
}

/// The scores of a tensor `[n]` as numbers.
pub(super) fn numbers(scores: &Tensor) -> Result<Vec<f64>> {
    let scores = scores
        .f_to_kind(Kind::Double)
        .context("failed to read the scores")?;
    Vec::<f64>::try_from(&scores).context("failed to read the scores")
}
