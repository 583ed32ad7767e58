//! What holds for every schedule, every clock and every history.
