//! Flags for the way to Prometheus. Secrets come in files, for arguments and environment can be read by others.

use std::path::PathBuf;

use clap::Args;

use crate::prometheus::{Access, Credentials};

/// Certificates and credentials for Prometheus.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prometheus")]
pub(super) struct AccessArgs {
    /// Certificates (PEM) that vouch for Prometheus, instead of the system's; read again about once a minute
    #[arg(long, env = "SERIN_PROMETHEUS_CA", value_name = "FILE")]
    prometheus_ca: Option<PathBuf>,
    /// File with a bearer token; read for each query, so it may be replaced at any time
    #[arg(long, env = "SERIN_PROMETHEUS_BEARER_TOKEN_FILE", value_name = "FILE")]
    prometheus_bearer_token_file: Option<PathBuf>,
    /// File with user:password; read for each query
    #[arg(
        long,
        env = "SERIN_PROMETHEUS_BASIC_AUTH_FILE",
        value_name = "FILE",
        conflicts_with = "prometheus_bearer_token_file"
    )]
    prometheus_basic_auth_file: Option<PathBuf>,
    /// Our certificate with its chain (PEM), where Prometheus wants one; a new one wants a restart
    #[arg(
        long,
        env = "SERIN_PROMETHEUS_CLIENT_CERT",
        value_name = "FILE",
        requires = "prometheus_client_key"
    )]
    prometheus_client_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(
        long,
        env = "SERIN_PROMETHEUS_CLIENT_KEY",
        value_name = "FILE",
        requires = "prometheus_client_cert"
    )]
    prometheus_client_key: Option<PathBuf>,
}

impl AccessArgs {
    pub(super) fn access(self) -> Access {
        let bearer = self.prometheus_bearer_token_file.map(Credentials::Bearer);
        let basic = self.prometheus_basic_auth_file.map(Credentials::Basic);
        Access {
            ca: self.prometheus_ca,
            identity: self.prometheus_client_cert.zip(self.prometheus_client_key),
            credentials: bearer.or(basic),
        }
    }
}
