//! What an operator sees of a running process: log lines, `/metrics`, `/healthz` and `/readyz`.

pub mod exporter;
pub mod health;
pub mod http;
pub mod logging;

pub use exporter::Exporter;
pub use health::Health;
pub use http::Http;
