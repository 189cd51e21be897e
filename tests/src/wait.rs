//! Waiting for a condition with a deadline: nothing in this crate sleeps for luck.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

/// How long [`until`] rests between two looks: short against any deadline, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(20);

/// An error that no amount of waiting cures, such as the death of the process waited for.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Calls `condition` until it answers `Ok`, and returns what it answered.
///
/// An error means "not yet" and is kept for the message, so a condition says what it saw.
///
/// # Errors
/// After `limit`: what was waited for and the last thing seen. At once: an error that is [`Hopeless`].
pub async fn until<T, F>(limit: Duration, what: &str, mut condition: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let start = Instant::now();
    let mut last = anyhow!("the condition was never looked at");
    loop {
        // One look that hangs must not outlive the deadline either.
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.is::<Hopeless>() => {
                return Err(error.context(format!("gave up waiting for {what}")));
            }
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if start.elapsed() >= limit {
            return Err(last.context(format!("waited {limit:?} for {what}")));
        }
        sleep(PAUSE).await;
    }
}

/// [`until`] for a yes-or-no condition.
///
/// # Errors
/// As [`until`].
pub async fn until_true(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<()> {
    until(limit, what, async || {
        condition()
            .await
            .then_some(())
            .ok_or_else(|| anyhow!("not yet"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timeout_names_what_was_waited_for_and_what_was_last_seen() {
        let mut looks = 0;
        let error = until(
            Duration::from_millis(200),
            "the moon",
            async || -> Result<()> {
                looks += 1;
                Err(anyhow!("look {looks} saw clouds"))
            },
        )
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.starts_with("waited 200ms for the moon: look "),
            "{text}"
        );
        assert!(looks > 1, "{looks}");
    }

    #[tokio::test]
    async fn a_hopeless_error_ends_the_wait_at_once() {
        let mut looks = 0;
        let error = until(
            Duration::from_secs(60),
            "a child",
            async || -> Result<()> {
                looks += 1;
                Err(Hopeless("it died".to_owned()).into())
            },
        )
        .await
        .unwrap_err();
        assert_eq!(looks, 1);
        assert_eq!(format!("{error:#}"), "gave up waiting for a child: it died");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlive_the_deadline() {
        let error = until(
            Duration::from_millis(50),
            "nothing",
            async || -> Result<()> { std::future::pending().await },
        )
        .await
        .unwrap_err();
        assert!(
            format!("{error:#}").starts_with("waited 50ms for nothing"),
            "{error:#}"
        );
    }
}
