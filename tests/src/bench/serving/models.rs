//! The models of the bench, and a loop that does nothing but run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{CpuSet, sched_setaffinity};
use tch::{CModule, Device, Kind, Tensor};

/// Forwards before any is measured: TorchScript compiles on the first ones.
const WARM_UP: usize = 20;
/// The largest batch.
pub const BATCH: i64 = 32;

/// A perceptron.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// 16-32-4: a forward is a few microseconds, so that what is measured is the server.
    Small,
    /// 768-3072-768, twice: a forward is milliseconds, so that what is measured is how batches are made.
    Large,
}

impl Model {
    /// Its name, and the start of the names in the repository.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Model::Small => "small",
            Model::Large => "large",
        }
    }

    /// Sizes of its layers.
    fn layers(self) -> &'static [i64] {
        match self {
            Model::Small => &[16, 32, 4],
            Model::Large => &[768, 3072, 768, 3072, 768],
        }
    }

    /// Numbers of a request.
    #[must_use]
    pub fn columns(self) -> i64 {
        self.layers().first().copied().unwrap_or_default()
    }

    /// A request's numbers: of every length that JSON writes floats with.
    #[must_use]
    pub fn request(self) -> Vec<f32> {
        let sines = (0_u16..).map(|it| f32::from(it).sin());
        let count = usize::try_from(self.columns()).unwrap_or_default();
        sines.take(count).collect()
    }

    /// Traces it into a folder of repository `models`, once to be run request by request and once in batches, and returns
    /// the file.
    ///
    /// # Errors
    /// When libtorch refuses, or the files cannot be written.
    pub fn save(self, models: &Path) -> Result<PathBuf> {
        tch::manual_seed(0);
        let layers = self.layers().windows(2).filter_map(|pair| match pair {
            [from, to] => Some((*from, *to)),
            _ => None,
        });
        let options = (Kind::Float, Device::Cpu);
        let weights: Vec<Tensor> = layers
            .map(|(from, to)| Tensor::randn([from, to], options) / (from as f64).sqrt())
            .collect();
        let mut forward = |inputs: &[Tensor]| match inputs {
            [x] => vec![
                weights
                    .iter()
                    .fold(x.shallow_clone(), |x, weight| x.matmul(weight).relu()),
            ],
            // The tracer hands over what it was given below.
            _ => Vec::new(),
        };
        let x = Tensor::zeros([2, self.columns()], options);
        let module = CModule::create_by_tracing("Perceptron", "forward", &[x], &mut forward)
            .context("failed to trace a model")?;
        let (columns, last) = (self.columns(), self.layers().last().copied());
        let last = last.unwrap_or_default();
        let tensor =
            |name, columns| format!("[{{name: {name}, datatype: FP32, shape: [-1, {columns}]}}]");
        let yaml = format!(
            "inputs: {}\noutputs: {}\n",
            tensor("x", columns),
            tensor("y", last)
        );
        let write = |name: &str, yaml: String| -> Result<PathBuf> {
            let folder = models.join(name);
            let file = folder.join("1/model.pt");
            fs::create_dir_all(folder.join("1"))?;
            fs::write(folder.join("model.yaml"), yaml)?;
            module.save(&file)?;
            Ok(file)
        };
        write(self.name(), yaml.clone())
            .and_then(|file| {
                write(&batched(self), format!("{yaml}maxBatchSize: {BATCH}\n"))?;
                Ok(file)
            })
            .context("failed to write a model")
    }
}

/// Its name in the repository where it takes batches.
#[must_use]
pub fn batched(model: Model) -> String {
    format!("{}-batched", model.name())
}

/// Times of forwards of so many rows, one after the other, for a while, on a thread of its own that stays on core `core`,
/// if one is named.
///
/// # Errors
/// When libtorch refuses.
pub fn raw(
    file: &Path,
    model: Model,
    rows: i64,
    time: Duration,
    core: Option<usize>,
) -> Result<Vec<Duration>> {
    let (file, columns) = (file.to_owned(), model.columns());
    let loops = std::thread::spawn(move || -> Result<Vec<Duration>> {
        if let Some(core) = core {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores).context("failed to stay on one core")?;
        }
        // Both are settings of the thread.
        tch::set_num_threads(1);
        let _no_grad = tch::no_grad_guard();
        let module = CModule::load(&file)?;
        let x = Tensor::randn([rows, columns], (Kind::Float, Device::Cpu));
        for _ in 0..WARM_UP {
            drop(module.forward_ts(&[&x])?);
        }
        let end = Instant::now() + time;
        let mut times = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            drop(module.forward_ts(&[&x])?);
            times.push(begun.elapsed());
        }
        Ok(times)
    });
    let times = loops.join().map_err(|_| anyhow!("the loop panicked"))?;
    times.context("failed to run a model in a loop")
}
