//! Native (exponential) histograms: boundaries `2^(k * 2^-schema)`, brought to the coarser schema of two (section 2).

use std::collections::BTreeMap;

use super::{Histogram, HistogramError};

/// Non-negative observations of a native histogram: counts of one interval or since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    schema: i8,
    /// Count of each bucket, not cumulative; bucket `k` ends at `2^(k * 2^-schema)`.
    buckets: BTreeMap<i32, f64>,
    /// Count of the bucket around 0.
    zero: f64,
}

impl NativeHistogram {
    /// A histogram of this schema, -4 to 8, with the count in its zero bucket and in each bucket by index.
    ///
    /// # Errors
    /// The schema is unknown, or a number is no count.
    pub fn new(schema: i8, zero: f64, buckets: BTreeMap<i32, f64>) -> Result<Self, HistogramError> {
        if !(-4..=8).contains(&schema) {
            return Err(HistogramError::Schema {
                from: schema,
                to: schema,
            });
        }
        for count in buckets.values().chain([&zero]) {
            if !count.is_finite() || *count < 0.0 {
                return Err(HistogramError::NotACount(*count));
            }
        }
        Ok(Self {
            schema,
            buckets,
            zero,
        })
    }

    /// The same counts at a coarser schema: one step merges two neighbouring buckets.
    ///
    /// # Errors
    /// The schema asked for is finer, or below -4.
    pub fn merged(&self, schema: i8) -> Result<Self, HistogramError> {
        let steps = i32::from(self.schema) - i32::from(schema);
        if steps < 0 || schema < -4 {
            return Err(HistogramError::Schema {
                from: self.schema,
                to: schema,
            });
        }
        let mut buckets = BTreeMap::new();
        for (index, count) in &self.buckets {
            // Upwards, for a bucket is named by its end; an arithmetic shift rounds negative indices down.
            let coarse = (index.saturating_sub(1) >> steps) + 1;
            *buckets.entry(coarse).or_insert(0.0) += count;
        }
        Ok(Self {
            schema,
            buckets,
            zero: self.zero,
        })
    }

    /// Two histograms as cumulative buckets with the same boundaries, at the coarser schema of the two.
    ///
    /// # Errors
    /// Neither has a bucket, or a boundary or a sum is no finite number.
    pub fn align(a: &Self, b: &Self) -> Result<(Histogram, Histogram), HistogramError> {
        let schema = a.schema.min(b.schema);
        let (a, b) = (a.merged(schema)?, b.merged(schema)?);
        let mut indices: Vec<i32> = a.buckets.keys().chain(b.buckets.keys()).copied().collect();
        indices.sort_unstable();
        indices.dedup();
        // The end of the bucket below the first is needed: what is at or below it is exactly the zero bucket.
        if let Some(below) = indices.first().and_then(|first| first.checked_sub(1)) {
            indices.insert(0, below);
        }
        Ok((a.cumulative(&indices)?, b.cumulative(&indices)?))
    }

    fn cumulative(&self, indices: &[i32]) -> Result<Histogram, HistogramError> {
        let end = |index: &i32| (f64::from(*index) * (-f64::from(self.schema)).exp2()).exp2();
        let boundaries: Vec<f64> = indices.iter().map(end).collect();
        let mut sum = self.zero;
        let cumulative: Vec<f64> = indices
            .iter()
            .map(|index| {
                sum += self.buckets.get(index).unwrap_or(&0.0);
                sum
            })
            .collect();
        Histogram::new(&boundaries, &cumulative, sum)
    }
}
