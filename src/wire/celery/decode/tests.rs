//! Placeholder tests of decoding tasks.
