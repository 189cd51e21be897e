//! The pieces of `make demo`: transactions, the three fraud models trained on them, and the users that send them.

pub mod fleet;
pub mod models;
pub mod network;
pub mod place;
pub mod population;
pub mod screen;
pub mod stop;
pub mod story;
pub mod summary;
pub mod transactions;
