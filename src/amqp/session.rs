//! One channel of a consumer: what is consumed on it is settled on it, and on no other.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{BasicGetOptions, BasicQosOptions};
use lapin::types::ShortString;
use tokio_util::task::TaskTracker;

use super::acks::settle_all;
use super::connection::Link;
use super::delivery::Lane;
use super::{Error, Options};

/// An open channel and the lane to the task that settles on it.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) channel: lapin::Channel,
    pub(super) lane: Arc<Lane>,
}

impl Session {
    /// Opens a channel on which the broker lets us hold so much; `tasks` gets the one that settles.
    pub(super) async fn open(link: Link, prefetch: u16, options: &Options, tasks: &TaskTracker) -> Result<Self, Error> {
        let channel = link.channel(options.connect_timeout).await?;
        // global=false: a quorum queue closes the whole connection on the other.
        let qos = channel.basic_qos(prefetch, BasicQosOptions { global: false });
        link.answer("basic.qos", options.connect_timeout, qos).await?;
        // What is held over a pause counts beside the next window; and the gets at its end ask for no room in it.
        let (lane, settlements) = Lane::new(link.pulse.clone(), 2 * usize::from(prefetch) + 2);
        let life = lane.life.clone();
        tasks.spawn(settle_all(channel.clone(), life, settlements, options.batch, options.close_timeout));
        Ok(Self { link, channel, lane })
    }

    /// Takes one message, if there is any; the answer comes after all that was asked of the queue on this channel before.
    pub(super) async fn get(&self, queue: ShortString, within: Duration) -> Result<Option<Delivery>, Error> {
        let get = self.channel.basic_get(queue, BasicGetOptions { no_ack: false });
        Ok(self.link.answer("basic.get", within, get).await?.map(|message| message.delivery))
    }
}
