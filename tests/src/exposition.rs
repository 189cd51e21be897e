//! Reading Prometheus' text format, as Envoy's `/stats/prometheus` writes it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One series with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Whether it is of this metric and carries all these labels.
    #[must_use]
    pub fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name
            && labels
                .iter()
                .all(|(label, value)| self.labels.get(*label).is_some_and(|found| found == value))
    }
}

/// The sum over the series of a metric that carry all these labels; zero when there is none.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    samples
        .iter()
        .filter(|sample| sample.is(name, labels))
        .map(|sample| sample.value)
        .sum()
}

/// Reads an exposition.
///
/// # Errors
/// Names the line that is no sample.
pub fn parse(text: &str) -> Result<Vec<Sample>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| sample(line).with_context(|| format!("failed to read the sample '{line}'")))
        .collect()
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("a name without a value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    // A timestamp may follow the value.
    let value = rest.split_whitespace().next().context("no value")?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().context("a value that is no number")?,
    })
}

/// Reads `a="b",c="d"}` and returns what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> Result<&'a str> {
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (label, quoted) = rest.split_once("=\"").context("a label without a value")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => bail!("an escape at the end of the line"),
                },
                Some((_, char)) => value.push(char),
                None => bail!("a label value without an end"),
            }
        };
        labels.insert(label.to_owned(), value);
        rest = &quoted[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels_and_escapes() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"say \\\"hi\\\" } \\\\\"} 12\n\nb 0.5 1700000000\nc{} +Inf\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].labels["y"], "say \"hi\" } \\");
        assert_eq!(
            samples[1],
            Sample {
                name: "b".into(),
                labels: BTreeMap::new(),
                value: 0.5
            }
        );
        assert_eq!(samples[2].value, f64::INFINITY);
    }

    #[test]
    fn a_sum_takes_the_series_with_all_the_labels() {
        let samples =
            parse("a{x=\"1\",y=\"1\"} 1\na{x=\"1\",y=\"2\"} 2\na{x=\"2\"} 4\nb{x=\"1\"} 8\n")
                .unwrap();
        assert_eq!(sum(&samples, "a", &[("x", "1")]), 3.0);
        assert_eq!(sum(&samples, "a", &[]), 7.0);
        assert_eq!(sum(&samples, "a", &[("z", "1")]), 0.0);
    }

    #[test]
    fn a_broken_line_is_named() {
        for line in ["a", "a{x=\"1\" 2", "a{x} 2", "a two"] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }
}
