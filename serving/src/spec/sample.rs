//! What a model is warmed up with.

use super::{DYNAMIC, ModelSpec, TensorSpec};
use crate::tensor::{Tensor, TensorError};

/// Shapes of an input that a model is warmed up with at the most: each takes some forwards for every size of batch.
pub const MAX_SHAPES: usize = 64;

/// What an input is in the forwards that a model is warmed up with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WarmUp {
    /// The one value that is everywhere; `None`: 0.
    pub value: Option<Tensor>,
    /// Its shapes, one after the other. A first dimension of [`DYNAMIC`] is the number of rows. None: every free dimension
    /// but that of the rows has size 1.
    pub shapes: Vec<Vec<i64>>,
}

/// One of the forwards that a model is warmed up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Which shape the inputs have, of those that they are warmed up with.
    pub shape: usize,
    /// Rows, where their number is free.
    pub rows: usize,
}

impl TensorSpec {
    /// What a model is warmed up with first, of so many rows.
    ///
    /// # Errors
    /// [`TensorError`] if the dimensions are too large.
    pub fn sample(&self, rows: usize) -> Result<Tensor, TensorError> {
        self.of(Sample { shape: 0, rows })
    }

    /// The smallest shape of so many rows that a request may have.
    #[must_use]
    pub fn smallest(&self, rows: usize) -> Vec<i64> {
        sized(&self.shape, rows)
    }

    fn shape_of(&self, sample: Sample) -> Vec<i64> {
        let shapes = &self.warm_up.shapes;
        // One alone goes with all of the other inputs.
        let shape = shapes.get(sample.shape).or(shapes.first());
        sized(shape.unwrap_or(&self.shape), sample.rows)
    }

    fn of(&self, sample: Sample) -> Result<Tensor, TensorError> {
        // A size that there cannot be is said by the tensor.
        let size = self.bytes_of(sample).unwrap_or(0);
        let bytes = match &self.warm_up.value {
            None => vec![0; size],
            Some(value) => value.bytes().repeat(size / self.datatype.size()),
        };
        Tensor::new(self.datatype, self.shape_of(sample), bytes)
    }

    /// Bytes of it. A batch may have more than a request.
    fn bytes_of(&self, sample: Sample) -> Option<usize> {
        let shape = self.shape_of(sample);
        let mut sizes = shape.iter().map(|&size| usize::try_from(size).ok());
        sizes.try_fold(self.datatype.size(), |bytes, size| bytes.checked_mul(size?))
    }
}

/// So many rows, where their number is free, and 1 for every other dimension that is.
pub(crate) fn sized(shape: &[i64], rows: usize) -> Vec<i64> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let sizes = [rows].into_iter().chain(std::iter::repeat(1));
    let both = shape.iter().zip(sizes);
    both.map(|(&size, free)| if size == DYNAMIC { free } else { size })
        .collect()
}

impl ModelSpec {
    /// The forwards that a model is warmed up with, one after the other: each of the shapes, in batches of every size that
    /// requests of that shape are joined to.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        let shapes = self.inputs.iter().map(|it| it.warm_up.shapes.len());
        let all = 0..shapes.max().unwrap_or(0).max(1);
        let of = move |shape| {
            let sizes = self.serving.sizes();
            sizes.map(move |rows| Sample { shape, rows })
        };
        let most = self.serving.batching().max_bytes;
        let joined = move |it: &Sample| self.bytes_of(*it).is_some_and(|bytes| bytes <= most);
        all.flat_map(of)
            .filter(move |it| it.rows == 1 || joined(it))
    }

    /// The forward of the warm-up that takes the most.
    #[must_use]
    pub fn largest_sample(&self) -> Sample {
        let largest = self.samples().max_by_key(|it| self.bytes_of(*it));
        largest.unwrap_or(Sample { shape: 0, rows: 1 })
    }

    /// The inputs of such a forward.
    ///
    /// # Errors
    /// [`TensorError`] if the dimensions are too large.
    pub fn inputs_of(&self, sample: Sample) -> Result<Vec<Tensor>, TensorError> {
        self.inputs.iter().map(|input| input.of(sample)).collect()
    }

    fn bytes_of(&self, sample: Sample) -> Option<usize> {
        let bytes = self.inputs.iter().map(|input| input.bytes_of(sample));
        bytes.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::Serving, tensor::Datatype};

    fn spec() -> TensorSpec {
        TensorSpec::new("x", Datatype::Fp32, vec![DYNAMIC, 7])
    }

    /// A model of these shapes and those that its inputs are warmed up with.
    fn model(rows: Option<usize>, inputs: &[(&[i64], &[&[i64]])]) -> ModelSpec {
        let input = |(declared, shapes): &(&[i64], &[&[i64]])| {
            let mut spec = TensorSpec::new("x", Datatype::Fp32, declared.to_vec());
            spec.warm_up.shapes = shapes.iter().map(|it| it.to_vec()).collect();
            spec
        };
        ModelSpec {
            inputs: inputs.iter().map(input).collect(),
            serving: Serving {
                max_batch_size: rows,
                ..Serving::default()
            },
            ..ModelSpec::default()
        }
    }

    fn shapes(model: &ModelSpec) -> Vec<Vec<Vec<i64>>> {
        let inputs = |sample| model.inputs_of(sample).unwrap();
        let shapes = |tensors: Vec<Tensor>| tensors.iter().map(|it| it.shape().to_vec()).collect();
        model.samples().map(inputs).map(shapes).collect()
    }

    #[test]
    fn a_sample_has_as_many_rows_as_wanted_of_the_value_that_the_model_wants() {
        let zeros = spec().sample(2).unwrap();
        assert_eq!((zeros.shape(), zeros.bytes()), (&[2, 7][..], &[0; 56][..]));
        let half = 0.5_f32.to_ne_bytes().to_vec();
        let mut halves = spec();
        halves.warm_up.value = Tensor::new(Datatype::Fp32, vec![], half).ok();
        let halves = halves.sample(3).unwrap();
        assert_eq!(halves.bytes(), 0.5_f32.to_ne_bytes().repeat(21));
        assert_eq!(halves.shape(), [3, 7]);
    }

    #[test]
    fn without_shapes_every_free_dimension_but_the_rows_is_1() {
        let tokens = model(Some(4), &[(&[-1, -1], &[]), (&[-1, 3], &[])]);
        assert_eq!(
            shapes(&tokens),
            [[[1, 1], [1, 3]], [[2, 1], [2, 3]], [[4, 1], [4, 3]]]
        );
        assert_eq!(shapes(&model(None, &[(&[-1, -1], &[])])), [[[1, 1]]]);
        assert_eq!(shapes(&model(None, &[])), [Vec::<Vec<i64>>::new()]);
    }

    #[test]
    fn each_shape_is_there_in_every_size_of_batch_and_one_alone_goes_with_all() {
        let two = &[&[-1, 8][..], &[-1, 32]][..];
        let tokens = model(
            Some(2),
            &[(&[-1, -1], two), (&[-1, -1], &[&[-1, 5]]), (&[-1, 3], &[])],
        );
        assert_eq!(
            shapes(&tokens),
            [
                [[1, 8], [1, 5], [1, 3]],
                [[2, 8], [2, 5], [2, 3]],
                [[1, 32], [1, 5], [1, 3]],
                [[2, 32], [2, 5], [2, 3]],
            ]
        );
        let alone = model(None, &[(&[-1, -1], &[&[3, 128], &[1, 512]])]);
        assert_eq!(shapes(&alone), [[[3, 128]], [[1, 512]]]);
    }

    #[test]
    fn the_largest_is_the_one_of_most_bytes_and_none_is_larger_than_what_is_joined() {
        let large = &[-1, 3, 1024, 1024][..];
        let images = model(Some(32), &[(&[-1, 3, -1, -1], &[large, &[-1, 3, 64, 64]])]);
        let rows = |shape| -> Vec<usize> {
            let all = images.samples().filter(|it| it.shape == shape);
            all.map(|it| it.rows).collect()
        };
        // 12 MiB each, of 256 MiB.
        assert_eq!(rows(0), [1, 2, 4, 8, 16]);
        assert_eq!(rows(1), [1, 2, 4, 8, 16, 32]);
        assert_eq!(images.largest_sample(), Sample { shape: 0, rows: 16 });
        let tokens = model(Some(8), &[(&[-1, -1], &[&[-1, 512], &[-1, 8]])]);
        assert_eq!(tokens.largest_sample(), Sample { shape: 0, rows: 8 });
        let alone = model(None, &[(&[-1], &[])]);
        assert_eq!(alone.largest_sample(), Sample { shape: 0, rows: 1 });
    }
}
