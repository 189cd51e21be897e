//! Many requests as one: their rows one below the other, and the answer cut up again.

use crate::{
    backend::{Backend, BackendError, Trouble, infer_checked},
    spec::ModelSpec,
    tensor::{Tensor, TensorError},
};

/// The answers to requests that fit together, in their order. Where a batch fails, its halves are tried, so that only
/// those fail that would have failed alone. `ran` hears of each forward, with the requests and the rows that it answered.
pub(super) fn infer(
    backend: &mut dyn Backend,
    spec: &ModelSpec,
    requests: &[Vec<Tensor>],
    ran: &mut impl FnMut(usize, usize),
) -> Vec<Result<Vec<Tensor>, BackendError>> {
    // They were counted when they came, so that they fit together.
    let rows = || requests.iter().map(|it| spec.rows(it).unwrap_or(1)).sum();
    let (first, second) = match requests {
        [] => return Vec::new(),
        [one] => {
            let answer = infer_checked(backend, spec, one);
            match &answer {
                Ok(_) => ran(1, rows()),
                Err(_) => ran(0, 0),
            }
            return vec![answer];
        }
        several => match together(backend, spec, several) {
            Ok(answers) => {
                ran(several.len(), rows());
                return answers.into_iter().map(Ok).collect();
            }
            // Nothing would come of trying again.
            Err(error) if error.trouble() == Some(Trouble::Lost) => {
                ran(0, 0);
                return several.iter().map(|_| Err(error.clone())).collect();
            }
            Err(error) => {
                ran(0, 0);
                tracing::debug!(%error, requests = several.len(), "a batch failed: its halves are tried");
                several.split_at(several.len() / 2)
            }
        },
    };
    let mut answers = infer(backend, spec, first, ran);
    answers.extend(infer(backend, spec, second, ran));
    answers
}

fn together(
    backend: &mut dyn Backend,
    spec: &ModelSpec,
    requests: &[Vec<Tensor>],
) -> Result<Vec<Vec<Tensor>>, BackendError> {
    let rows: Vec<i64> = requests
        .iter()
        .map(|it| it.first().and_then(Tensor::rows).unwrap_or(0))
        .collect();
    let inputs = (0..spec.inputs.len()).map(|index| {
        let parts: Vec<_> = requests.iter().filter_map(|it| it.get(index)).collect();
        stack(&parts)
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let outputs = infer_checked(backend, spec, &inputs)?;
    let mut answers: Vec<_> = rows
        .iter()
        .map(|_| Vec::with_capacity(outputs.len()))
        .collect();
    for output in &outputs {
        for (answer, part) in answers.iter_mut().zip(cut(output, &rows)) {
            answer.push(part?);
        }
    }
    Ok(answers)
}

fn stack(parts: &[&Tensor]) -> Result<Tensor, TensorError> {
    let (datatype, mut shape) = match parts.first() {
        Some(first) => (first.datatype(), first.shape().to_vec()),
        None => return Err(TensorError::Elements { shape: Vec::new() }),
    };
    if let Some(rows) = shape.first_mut() {
        *rows = parts.iter().filter_map(|it| it.rows()).sum();
    }
    let mut bytes = Vec::with_capacity(parts.iter().map(|it| it.bytes().len()).sum());
    parts
        .iter()
        .for_each(|it| bytes.extend_from_slice(it.bytes()));
    Tensor::new(datatype, shape, bytes)
}

/// The rows of a tensor in pieces of this many, which all of them are.
fn cut<'a>(
    tensor: &'a Tensor,
    rows: &'a [i64],
) -> impl Iterator<Item = Result<Tensor, TensorError>> + 'a {
    let all = usize::try_from(tensor.rows().unwrap_or(0))
        .unwrap_or(0)
        .max(1);
    let row = tensor.bytes().len() / all;
    let mut rest = tensor.bytes();
    rows.iter().map(move |&count| {
        let size = usize::try_from(count).unwrap_or(0) * row;
        let (part, more) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        rest = more;
        let mut shape = tensor.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = count;
        }
        Tensor::new(tensor.datatype(), shape, part.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::fake, tensor::Datatype};

    fn request(rows: &[f32]) -> Vec<Tensor> {
        let bytes = rows
            .iter()
            .flat_map(|it| [*it, 1.0])
            .flat_map(f32::to_ne_bytes);
        let shape = vec![rows.len().try_into().unwrap(), 2];
        vec![Tensor::new(Datatype::Fp32, shape, bytes.collect()).unwrap()]
    }

    fn first_values(answer: &Result<Vec<Tensor>, BackendError>) -> Vec<f32> {
        let bytes = answer.as_ref().unwrap()[0].bytes();
        let pairs = bytes.as_chunks::<8>().0.iter();
        pairs
            .map(|it| f32::from_ne_bytes([it[0], it[1], it[2], it[3]]))
            .collect()
    }

    /// What the fake does, and how many forwards there were.
    fn run(requests: &[Vec<Tensor>]) -> (Vec<Result<Vec<Tensor>, BackendError>>, usize) {
        struct Count(Box<dyn Backend>, usize);
        impl Backend for Count {
            fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
                self.1 += 1;
                self.0.infer(inputs)
            }
        }
        let (_gate, load) = fake::load();
        let mut spec = fake::spec();
        // One number for all rows cannot be cut up.
        spec.outputs.truncate(1);
        let mut backend = Count(Box::new(fake::Rows(load().unwrap())), 0);
        (
            infer(&mut backend, &spec, requests, &mut |_, _| ()),
            backend.1,
        )
    }

    #[test]
    fn each_request_gets_its_own_rows_of_one_forward() {
        let (answers, forwards) = run(&[request(&[1.0]), request(&[2.0, 3.0]), request(&[4.0])]);
        assert_eq!(forwards, 1);
        let values: Vec<_> = answers.iter().map(first_values).collect();
        assert_eq!(values, [vec![2.0], vec![4.0, 6.0], vec![8.0]]);
    }

    #[test]
    fn only_the_request_that_fails_alone_fails() {
        let mut requests: Vec<_> = (1_u8..=8).map(|it| request(&[f32::from(it)])).collect();
        requests[5] = request(&[fake::FAIL]);
        let (answers, forwards) = run(&requests);
        for (number, answer) in (1_u8..).zip(&answers) {
            if number == 6 {
                assert!(matches!(answer, Err(BackendError::Forward(_))));
            } else {
                assert_eq!(first_values(answer), [f32::from(number) * 2.0]);
            }
        }
        assert_eq!(forwards, 7, "halves, quarters, and the two alone");
    }

    #[test]
    fn an_answer_with_another_number_of_rows_is_refused() {
        let (answers, _) = run(&[request(&[fake::RESHAPE]), request(&[1.0])]);
        assert!(answers[0].is_err());
        assert_eq!(first_values(&answers[1]), [2.0]);
    }
}
