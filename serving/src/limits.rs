//! What the server puts up with.

use std::time::Duration;

use crate::{clients::ClientLimit, memory::Ceiling};

/// Headers have so long to arrive where nobody says otherwise.
const HEADERS: Duration = Duration::from_secs(30);

/// Bounds of the whole server. By default there are none but that on headers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a forward may take before the process ends because of it, where the model does not say.
    pub forward_timeout: Option<Duration>,
    /// How long others are still served then.
    pub linger: Duration,
    /// How long the headers of a request may take.
    pub headers: Duration,
    /// The memory above which no new request is taken.
    pub memory: Ceiling,
    /// What one client may do.
    pub client: Option<ClientLimit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            forward_timeout: None,
            linger: Duration::ZERO,
            headers: HEADERS,
            memory: Ceiling::Off,
            client: None,
        }
    }
}
