//! The native format: jobs and results as the contract has them.
