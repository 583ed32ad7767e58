//! The coordinator of bulks that all replicas work on.

mod cells;
mod course;
mod known;
mod log;
mod office;
mod plan;
mod standing;
