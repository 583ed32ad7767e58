//! Jobs and results of the contract, and every way in which a job can be wrong.
