//! Tests of the subscriptions.
