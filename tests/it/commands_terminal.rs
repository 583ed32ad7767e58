//! `switchboard bulk` on a terminal: its bar, and what Ctrl-C asks.

use crate::harness::caller::Reply;
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::found;
use crate::harness::worker::PROGRAM;
use crate::worker_scene::{SOON, Scene};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

const CTRL_C: &str = "\u{3}";
const QUESTION: &str = "? [y]es, [n]o: leave it running, [c]ontinue watching ";

/// The program on a terminal of its own: what is typed, and all that it has shown.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts it. The arguments have no character that a shell would read otherwise.
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut command = Command::new("script");
        let line = format!("exec {PROGRAM} {}", arguments.join(" "));
        // Returns the exit code of the program, and writes down nothing.
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.envs(scene.options.environment.iter().cloned());
        let [url, queue] = [&scene.options.amqp_url, &scene.options.queue];
        command.env("SWITCHBOARD__AMQP__URL", url).env("SWITCHBOARD__AMQP__QUEUE", queue);
        command.env("TERM", "xterm").env("COLUMNS", "200").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().expect("script, of util-linux, is installed");
        let (keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&shown);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut buffer).await {
                collected.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child, keys, shown }
    }

    async fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until a text has been shown so often.
    async fn shows(&self, text: &str, times: usize) {
        let shown = async || (self.shown().matches(text).count() >= times).then_some(());
        let what = format!("the terminal shows {text:?} {times} times");
        if tokio::time::timeout(SOON, found(&what, SOON * 2, shown)).await.is_err() {
            panic!("{what}: not in {:?}", self.shown());
        }
    }

    /// Waits for the end of the program and returns its exit code and everything that was shown.
    async fn end(mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(SOON, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end: {:?}", self.shown())).unwrap();
        let shown = self.shown();
        (ended.code(), shown)
    }
}

/// A worker, and devices of which one is mute for longer than anything takes here.
async fn scene() -> Scene {
    let scene = Scene::start(Dialect::Default).await;
    scene.fleet.behave_as("mute", Behaviour::Silent);
    scene.fleet.behave_as("door", Behaviour::Reject);
    scene
}

const BULK: [&str; 10] =
    ["bulk", "open", "--timeout", "250s", "--device", "mute", "--device", "door", "--device", "good"];

#[tokio::test]
async fn a_bulk_is_cancelled_from_its_terminal_and_its_summary_is_shown() {
    let scene = scene().await;
    let _worker = scene.worker().await;
    let mut terminal = Terminal::start(&scene, &[&BULK[..], &["--id", "b"]].concat());
    terminal.shows("66% of 3", 1).await;
    terminal.shows(", rejected 1", 1).await;
    terminal.types(CTRL_C).await;
    terminal.shows("Cancel the bulk b? [y]es", 1).await;
    terminal.types("what?\n").await;
    terminal.shows(QUESTION, 2).await;
    terminal.types("c\n").await;
    // The bar is back.
    let bars = terminal.shown().matches("66% of 3").count();
    terminal.shows("66% of 3", bars + 1).await;
    terminal.types(CTRL_C).await;
    terminal.shows(QUESTION, 3).await;
    terminal.types("y\n").await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, Some(1), "{shown:?}");
    for text in ["cancelling; the summary comes when", "cancelled           1", "devices             3   cancelled in"]
    {
        assert!(shown.contains(text), "{text} is not in {shown:?}");
    }
}

#[tokio::test]
async fn a_bulk_is_left_running_from_its_terminal() {
    let scene = scene().await;
    let _worker = scene.worker().await;
    for (id, answer) in [("one", "n\n"), ("two", CTRL_C)] {
        let mut terminal = Terminal::start(&scene, &[&BULK[..], &["--id", id]].concat());
        terminal.shows("66% of 3", 1).await;
        terminal.types(CTRL_C).await;
        terminal.shows(QUESTION, 1).await;
        terminal.types(answer).await;
        let (code, shown) = terminal.end().await;
        assert_eq!(code, Some(130), "{shown:?}");
        let left = format!("the job {id} goes on without us, with 1 devices to go; `switchboard bulk-status {id}`");
        assert!(shown.contains(&left) && shown.contains(&format!("`switchboard cancel {id}`")), "{shown:?}");
    }
}

#[tokio::test]
async fn results_keep_coming_while_a_question_stands() {
    let scene = scene().await;
    let mut terminal = Terminal::start(&scene, &["bulk", "open", "--device", "good", "--id", "b"]);
    terminal.shows("no worker consumes from the queue", 1).await;
    terminal.shows("0% of 1", 1).await;
    terminal.types(CTRL_C).await;
    terminal.shows(QUESTION, 1).await;
    let _worker = scene.worker().await;
    let (code, shown) = terminal.end().await;
    assert_eq!(code, Some(0), "nobody answered, and everything succeeded: {shown:?}");
    assert!(shown.contains("succeeded           1\r\ndevices             1   completed in"), "{shown:?}");
    let replies: Vec<Reply> = scene.caller.replies();
    assert!(replies.is_empty(), "the results are the program's own: {replies:?}");
}

#[tokio::test]
async fn a_program_that_reads_json_is_shown_no_bar() {
    let scene = scene().await;
    let _worker = scene.worker().await;
    let terminal = Terminal::start(&scene, &["bulk", "open", "--device", "good", "--json"]);
    let (code, shown) = terminal.end().await;
    assert_eq!(code, Some(0), "{shown:?}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with('{')), "{shown:?}");
}
