//! What numbers a formula takes, and how one that is outside is named.

/// A number, or a table of them, outside of what a formula is defined for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DomainError {
    /// A number is out of range, or not a number.
    #[error("failed to use the {what} \"{value}\": it must be {must}")]
    Number {
        /// What the number is.
        what: &'static str,
        /// The number as given.
        value: f64,
        /// What it has to be.
        must: &'static str,
    },
    /// Two lists that belong together are not as long, or one is too short.
    #[error("failed to use the {what}: there are \"{found}\", and there must be {must}")]
    Length {
        /// What the list holds.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it has to have.
        must: &'static str,
    },
}

/// A finite number inside an open range, or the error that names it.
fn inside(
    what: &'static str,
    value: f64,
    holds: bool,
    must: &'static str,
) -> Result<f64, DomainError> {
    if value.is_finite() && holds {
        Ok(value)
    } else {
        Err(DomainError::Number { what, value, must })
    }
}

/// A number between 0 and 1, both excluded.
pub(super) fn probability(what: &'static str, value: f64) -> Result<f64, DomainError> {
    inside(what, value, value > 0.0 && value < 1.0, "between 0 and 1")
}

/// A finite number above 0.
pub(super) fn positive(what: &'static str, value: f64) -> Result<f64, DomainError> {
    inside(what, value, value > 0.0, "above 0 and finite")
}

/// A finite number that is not negative.
pub(super) fn not_negative(what: &'static str, value: f64) -> Result<f64, DomainError> {
    inside(what, value, value >= 0.0, "at least 0 and finite")
}

/// A finite number.
pub(super) fn finite(what: &'static str, value: f64) -> Result<f64, DomainError> {
    inside(what, value, true, "finite")
}

/// A list that is as long as another one.
pub(super) fn as_long(
    what: &'static str,
    found: usize,
    wanted: usize,
    must: &'static str,
) -> Result<(), DomainError> {
    if found == wanted {
        Ok(())
    } else {
        Err(DomainError::Length { what, found, must })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_where_and_what_it_must_be() {
        let said = |result: Result<f64, DomainError>| result.map_err(|error| error.to_string());
        assert_eq!(
            said(probability("alpha", 1.0)),
            Err("failed to use the alpha \"1\": it must be between 0 and 1".into())
        );
        assert_eq!(
            said(positive("rho", 0.0)),
            Err("failed to use the rho \"0\": it must be above 0 and finite".into())
        );
        assert!(not_negative("count", f64::NAN).is_err());
        assert!(finite("sum", f64::INFINITY).is_err());
        assert_eq!(finite("sum", -3.0), Ok(-3.0));
        assert_eq!(
            as_long("weights", 2, 3, "as many as arms").map_err(|error| error.to_string()),
            Err(
                "failed to use the weights: there are \"2\", and there must be as many as arms"
                    .into()
            )
        );
    }
}
