//! Misfires, overlap, jitter and the clock, one example each.
