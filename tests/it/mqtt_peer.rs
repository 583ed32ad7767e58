//! What the tests share that play the broker themselves.

use crate::harness::scripted::{Connection, Scripted};
use std::time::Duration;
use switchboard::mqtt::{Agent, Error, Fate, LinkState, Options};
use tokio::task::JoinHandle;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) type Sent = JoinHandle<Result<Fate, Error>>;

/// An agent on a connection that the test plays the broker of.
pub(crate) async fn connected(broker: &Scripted, options: Options) -> (Agent, Connection) {
    let (agent, connection) = tokio::join!(Agent::connect(options), broker.accept_new());
    (agent.unwrap(), connection)
}

pub(crate) fn publish(agent: &Agent, payload: &str) -> Sent {
    let publish = agent.publish("t", payload.to_owned());
    tokio::spawn(async move { publish.await })
}

pub(crate) async fn fate(sent: Sent) -> Fate {
    tokio::time::timeout(SOON, sent).await.expect("every publish has its fate").unwrap().unwrap()
}

pub(crate) async fn is_down(agent: &Agent) -> String {
    let mut state = agent.state();
    let down = state.wait_for(|state| matches!(state, LinkState::Down { .. } | LinkState::Closed { .. }));
    match &*tokio::time::timeout(SOON, down).await.expect("the loss is noticed").unwrap() {
        LinkState::Down { reason } | LinkState::Closed { reason } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn is_closed(agent: &Agent) -> String {
    let mut state = agent.state();
    let closed = state.wait_for(|state| matches!(state, LinkState::Closed { .. }));
    match &*tokio::time::timeout(SOON, closed).await.expect("it ends").unwrap() {
        LinkState::Closed { reason } => reason.clone(),
        other => panic!("{other:?}"),
    }
}
