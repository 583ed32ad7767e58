//! Three RabbitMQ nodes in one cluster, on loopback.

use crate::harness::eventually::{eventually, found};
use crate::harness::proxy::Proxy;
use crate::harness::rabbitmq::OwnNode;
use futures_util::future::join_all;
use std::time::Duration;
use switchboard::demo::brokers::RabbitMq;
use switchboard::demo::brokers::rabbitmq::{Member, Options};

/// How long nodes may take to find each other, or to agree on a leader.
const AGREED_WITHIN: Duration = Duration::from_secs(120);
const NAMES: [&str; 3] = ["one", "two", "three"];
const LINES: [&str; 4] = [
    "cluster_formation.peer_discovery_backend = classic_config",
    "cluster_formation.classic_config.nodes.1 = one@localhost",
    "cluster_partition_handling = pause_minority",
    // Seconds: a node that is frozen is given up after about this long, instead of a minute.
    "net_ticktime = 8",
];

/// The nodes, in the order of their names.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<OwnNode>,
}

impl Cluster {
    /// Starts one node, then two more that join it: about half a minute.
    pub(crate) async fn start() -> Self {
        let cookie = format!("{:032X}", rand::random::<u128>());
        let options = |name: &str, epmd| Options {
            lines: LINES.map(str::to_owned).to_vec(),
            member: Some(Member { name: name.to_owned(), cookie: cookie.clone(), epmd }),
        };
        let first = OwnNode::start_with(options(NAMES[0], None)).await;
        let epmd = Some(first.node().epmd_port());
        let others = join_all(NAMES[1..].iter().map(|name| OwnNode::start_with(options(name, epmd)))).await;
        let mut nodes = vec![first];
        nodes.extend(others);
        let mut cluster = Self { nodes };
        cluster.wait_whole().await;
        cluster
    }

    /// The URLs of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.node().url()).collect()
    }

    /// A path to the cluster as a load balancer is one: to this node, and to the next ones where it takes no connection.
    pub(crate) async fn balancer(&self, first: usize) -> Proxy {
        let mut ports: Vec<u16> = self.nodes.iter().map(|node| node.node().port()).collect();
        ports.rotate_left(first);
        Proxy::to_any(&ports).await
    }

    /// Waits until every node sees all of them.
    pub(crate) async fn wait_whole(&mut self) {
        for node in &mut self.nodes {
            let name = node.node().name();
            eventually(&format!("{name} sees the whole cluster"), AGREED_WITHIN, async || {
                let members = node.with(|node| Ok(node.ctl(&["eval", "length(rabbit_nodes:all_running())."]))).await;
                members.is_ok_and(|members| members.trim() == "3")
            })
            .await;
        }
    }

    /// Which node leads a queue, asked of this one.
    pub(crate) async fn leader(&mut self, asked: usize, queue: &str) -> usize {
        let node = &mut self.nodes[asked];
        found("the queue has a leader", AGREED_WITHIN, async || {
            let listed = node.with(|node| node.ctl(&["list_queues", "name", "leader"])).await;
            // Its neighbours are named after it: those of Celery tasks, of suspects, of cancels.
            let line = listed.lines().find(|line| line.split_whitespace().next() == Some(queue))?;
            NAMES.iter().position(|name| line.trim_end().ends_with(&format!("{name}@localhost")))
        })
        .await
    }

    /// SIGKILL of one node.
    pub(crate) async fn kill(&mut self, index: usize) {
        self.nodes[index]
            .with(|node| {
                node.kill();
                Ok(())
            })
            .await;
    }

    /// Starts these nodes again, all at once: each waits for others that it knew.
    pub(crate) async fn start_again(&mut self, which: &[usize]) {
        let dead = self.nodes.iter_mut().enumerate().filter(|(index, _)| which.contains(index));
        join_all(dead.map(|(_, node)| node.with(RabbitMq::start_again))).await;
        self.wait_whole().await;
    }
}
