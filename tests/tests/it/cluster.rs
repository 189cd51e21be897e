//! Serin in a cluster: the real API server, istiod and Envoys. `make test` leaves this module out, and says so, where
//! there is no Go to build them (tests/setup/test.sh).

mod cli;
mod control_plane;
mod manifests;
mod mesh;
mod release;
