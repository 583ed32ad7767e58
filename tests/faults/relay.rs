//! Brokers that take long to start, handed on from one scene to the next.

use crate::cluster::Cluster;
use crate::harness::rabbitmq::OwnNode;
use std::sync::{Mutex, PoisonError};

/// A RabbitMQ node.
pub(crate) static NODE: Relay<OwnNode> = Relay(Mutex::new(None));
/// Three of them in one cluster.
pub(crate) static CLUSTER: Relay<Cluster> = Relay(Mutex::new(None));

/// Holds what one scene left in order for the next. A scene that fails hands nothing on, and the next one starts afresh.
pub(crate) struct Relay<T>(Mutex<Option<T>>);

impl<T> Relay<T> {
    /// Leaves it to the next scene: in order, and serving.
    pub(crate) fn hand_on(&self, handed: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handed);
    }

    fn left(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Relay<OwnNode> {
    /// The node that the last scene left, or a new one.
    pub(crate) async fn take(&self) -> OwnNode {
        // Nobody is to pay for brokers that idle.
        drop(CLUSTER.left());
        match self.left() {
            Some(node) => node,
            None => OwnNode::start(&[]).await,
        }
    }
}

impl Relay<Cluster> {
    /// The cluster that the last scene left, or a new one.
    pub(crate) async fn take(&self) -> Cluster {
        drop(NODE.left());
        match self.left() {
            Some(cluster) => cluster,
            None => Cluster::start().await,
        }
    }
}
