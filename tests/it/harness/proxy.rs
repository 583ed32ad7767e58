//! A TCP path to a broker that can be cut, refused, frozen, delayed and ended in the middle of a packet.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchboard::demo::brokers::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Chunks that a delayed or frozen direction holds before the sender is held up too.
const CHUNKS: usize = 256;

/// Bytes of a client's beginning that tell who it is.
const HEAD: usize = 4096;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the broker.
    Up = 0,
    /// From the broker to the client.
    Down = 1,
}

#[derive(Clone, Default)]
struct Controls {
    refuse: bool,
    frozen: [bool; 2],
    delay: Duration,
    /// Connections of an earlier generation than this are cut.
    generation: u64,
    /// How many cuts were for some connections only, and what the client of those said at its beginning.
    some: (u64, &'static str),
}

#[derive(Default)]
struct Counts {
    bytes: [AtomicU64; 2],
    accepted: AtomicU64,
    open: AtomicU64,
}

struct Shared {
    /// In the order in which they are tried.
    targets: Vec<SocketAddr>,
    controls: watch::Sender<Controls>,
    counts: Counts,
    /// Bytes that may still pass in each direction before everything is cut.
    left: Mutex<[Option<u64>; 2]>,
}

/// A path to a broker. Dropping it cuts every connection.
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A path to this port on 127.0.0.1.
    pub(crate) async fn to(port: u16) -> Self {
        Self::to_any(&[port]).await
    }

    /// A path to whichever of these ports on 127.0.0.1 takes the connection first, tried in this order.
    pub(crate) async fn to_any(ports: &[u16]) -> Self {
        // Not one of the kernel's choice: while nobody listens, the kernel could give that to an outgoing connection.
        let [own] = ports::free().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], own));
        let listener = TcpListener::bind(addr).await.unwrap();
        let (controls, _) = watch::channel(Controls::default());
        let targets = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let shared = Arc::new(Shared { targets, controls, counts: Counts::default(), left: Mutex::default() });
        let (told, listening) = watch::channel(true);
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), told));
        Self { addr, shared, listening, task }
    }

    /// Where clients connect to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resets every open connection on both sides. New ones are taken as before.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Resets every open connection whose client said this in its first bytes, such as the name that AMQP clients give.
    pub(crate) fn cut_where(&self, said: &'static str) {
        self.shared.controls.send_modify(|controls| controls.some = (controls.some.0 + 1, said));
    }

    /// Refuses new connections (or takes them again); open ones stay. Done when it returns.
    pub(crate) async fn refuse(&self, refuse: bool) {
        self.shared.controls.send_modify(|controls| controls.refuse = refuse);
        let mut listening = self.listening.clone();
        listening
            .wait_for(|listening| *listening != refuse)
            .await
            .expect("the proxy runs as long as it is not dropped");
    }

    /// No byte passes, connections stay.
    pub(crate) fn freeze(&self) {
        self.shared.controls.send_modify(|controls| controls.frozen = [true, true]);
    }

    /// What the client sends goes nowhere: a link that is half open.
    pub(crate) fn freeze_up(&self) {
        self.shared.controls.send_modify(|controls| controls.frozen[Direction::Up as usize] = true);
    }

    /// What the broker sends goes nowhere: a link that is half open.
    pub(crate) fn freeze_down(&self) {
        self.shared.controls.send_modify(|controls| controls.frozen[Direction::Down as usize] = true);
    }

    /// Everything that was held passes, in order.
    pub(crate) fn thaw(&self) {
        self.shared.controls.send_modify(|controls| controls.frozen = [false, false]);
    }

    /// Every byte takes this long each way, from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.controls.send_modify(|controls| controls.delay = delay);
    }

    /// After this many more bytes in this direction everything is cut, in the middle of a packet if it falls so; once.
    pub(crate) fn limit(&self, direction: Direction, bytes: u64) {
        self.shared.left.lock().unwrap()[direction as usize] = Some(bytes);
    }

    /// Bytes that passed in this direction, over all connections.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.shared.counts.bytes[direction as usize].load(Ordering::SeqCst)
    }

    /// Connections that were taken so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.shared.counts.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.cut();
    }
}

impl Shared {
    fn cut(&self) {
        self.controls.send_modify(|controls| controls.generation += 1);
    }

    /// How much of a chunk may pass, and whether everything is to be cut after it.
    fn allowed(&self, direction: Direction, length: usize) -> (usize, bool) {
        let mut left = self.left.lock().unwrap();
        let Some(bytes) = left[direction as usize] else { return (length, false) };
        let passes = bytes.min(length as u64);
        left[direction as usize] = (bytes > passes).then_some(bytes - passes);
        (passes as usize, bytes == passes)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, told: watch::Sender<bool>) {
    let addr = listener.local_addr().expect("a bound listener has an address");
    let mut listener = Some(listener);
    let mut controls = shared.controls.subscribe();
    loop {
        let refuse = controls.borrow_and_update().refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(addr).await.expect("nobody took the proxy's port"));
        }
        told.send_replace(listener.is_some());
        let Some(open) = &listener else {
            if controls.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            // Both are safe to be dropped: no connection and no change is lost.
            changed = controls.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                shared.counts.accepted.fetch_add(1, Ordering::SeqCst);
                let controls = shared.controls.borrow().clone();
                tokio::spawn(carry(client, Arc::clone(&shared), controls));
            },
        }
    }
}

/// One connection, from accept to end.
async fn carry(client: TcpStream, shared: Arc<Shared>, at_first: Controls) {
    let Ok(broker) = TcpStream::connect(&shared.targets[..]).await else {
        // The broker refuses: so does the path, as well as a taken connection can.
        let _ = client.set_zero_linger();
        return;
    };
    shared.counts.open.fetch_add(1, Ordering::SeqCst);
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let (mut client, mut broker) = (client.into_split(), broker.into_split());
    let mut controls = shared.controls.subscribe();
    let head = Mutex::new(Vec::new());
    let is_meant = |controls: &Controls| {
        let (cuts, said) = controls.some;
        let begins = head.lock().unwrap();
        cuts > at_first.some.0 && begins.windows(said.len()).any(|part| part == said.as_bytes())
    };
    let cut = tokio::select! {
        _ = controls.wait_for(|controls| controls.generation > at_first.generation || is_meant(controls)) => true,
        (up, down) = async {
            tokio::join!(
                pump(&shared, Direction::Up, &mut client.0, &mut broker.1, Some(&head)),
                pump(&shared, Direction::Down, &mut broker.0, &mut client.1, None),
            )
        } => up.is_err() || down.is_err(),
    };
    for (_, half) in [client, broker] {
        if cut {
            // Without lingering, closing sends RST; shutting down first, as dropping the half does, would send FIN.
            let _ = half.as_ref().set_zero_linger();
            half.forget();
        }
    }
    shared.counts.open.fetch_sub(1, Ordering::SeqCst);
}

/// Carries one direction until its end, which it passes on.
async fn pump(
    shared: &Shared,
    direction: Direction,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    head: Option<&Mutex<Vec<u8>>>,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let take = async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if let Some(head) = head {
                let mut head = head.lock().unwrap();
                let more = read.min(HEAD - head.len());
                head.extend_from_slice(&buffer[..more]);
            }
            let due = Instant::now() + shared.controls.borrow().delay;
            if read == 0 || sender.send((due, buffer[..read].to_vec())).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let give = async {
        let mut controls = shared.controls.subscribe();
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            let thawed = controls.wait_for(|controls| !controls.frozen[direction as usize]).await;
            thawed.map(drop).map_err(io::Error::other)?;
            let (length, cut) = shared.allowed(direction, chunk.len());
            to.write_all(&chunk[..length]).await?;
            shared.counts.bytes[direction as usize].fetch_add(length as u64, Ordering::SeqCst);
            if cut {
                shared.cut();
                // `carry` sees the cut and drops this future.
                return std::future::pending().await;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(take, give).map(drop)
}
