//! When failures are no longer those of requests.

use crate::{
    backend::{BackendError, Trouble},
    tensor::Tensor,
};

/// So many doubtful failures in a row, of batches without a single answer, are looked into.
const ENOUGH: u32 = 3;

/// Doubtful failures of an instance since its last answer.
#[derive(Default)]
pub(super) struct Strikes(u32);

/// What a batch's answers say of the instance.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Well,
    /// It should show whether it still does what it could when it was warmed up.
    Doubtful(String),
    /// It can do nothing any more.
    Lost(String),
}

impl Strikes {
    /// Counts a batch.
    pub(super) fn count(&mut self, answers: &[Result<Vec<Tensor>, BackendError>]) -> Verdict {
        let errors = answers.iter().filter_map(|it| it.as_ref().err());
        let mut doubt = None;
        for error in errors {
            match error.trouble() {
                Some(Trouble::Lost) => return Verdict::Lost(error.to_string()),
                Some(Trouble::Doubtful) => doubt = Some(error),
                None => {}
            }
        }
        match doubt {
            // Some other one failed by itself, or was answered: the device computes.
            _ if answers.iter().any(Result::is_ok) => self.0 = 0,
            None => self.0 = 0,
            Some(error) => {
                self.0 += 1;
                if self.0 >= ENOUGH {
                    self.0 = 0;
                    return Verdict::Doubtful(error.to_string());
                }
            }
        }
        Verdict::Well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<Vec<Tensor>, BackendError>;

    fn failure(trouble: Trouble) -> Answer {
        Err(BackendError::Device {
            trouble,
            message: "CUDA".to_owned(),
        })
    }

    fn own() -> Answer {
        Err(BackendError::Forward("index out of range".to_owned()))
    }

    #[test]
    fn a_lost_device_is_the_end_at_once() {
        let answers = [Ok(Vec::new()), failure(Trouble::Lost)];
        let verdict = Strikes::default().count(&answers);
        assert_eq!(verdict, Verdict::Lost("CUDA".to_owned()));
    }

    #[test]
    fn only_doubtful_failures_in_a_row_are_looked_into() {
        let doubtful = || vec![failure(Trouble::Doubtful)];
        for between in [
            vec![Ok(Vec::new())],
            vec![own()],
            [vec![Ok(Vec::new())], doubtful()].concat(),
        ] {
            let mut strikes = Strikes::default();
            let verdicts = [
                doubtful(),
                doubtful(),
                between,
                doubtful(),
                doubtful(),
                doubtful(),
            ];
            let verdicts = verdicts.map(|it| strikes.count(&it));
            let (last, before) = verdicts.split_last().unwrap();
            assert!(before.iter().all(|it| *it == Verdict::Well), "{before:?}");
            assert_eq!(*last, Verdict::Doubtful("CUDA".to_owned()));
        }
    }
}
