//! The language model: a server that says what the [`Plot`](super::plot::Plot) says, or breaks.
//!
//! It is reached over real sockets, since the model's client knows no other way, and the kernel has its own idea of time.
//! So the simulated time stands still, and with it everybody else, whenever bytes are on their way: some task is always
//! ready then, and tokio's paused clock only moves when none is.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{sleep, sleep_until},
};

use super::{Sim, random::Random};

/// The model of a chat.
pub(super) const CHAT: &str = "scripted";
/// Rounds of the scheduler after which bytes that nobody has read are not waited for any more.
const PATIENCE: u32 = 20_000;
/// Rounds in which what has arrived gets from the connection to its reader: tasks of this thread only.
const WITHIN: u32 = 24;

/// How a call of the model goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    first: Duration,
    gap: Duration,
    mishap: Option<Mishap>,
}

#[derive(Debug, Clone, Copy)]
enum Mishap {
    Status(u16),
    Cut(usize),
    Hang(usize),
}

impl Course {
    pub(super) fn draw(random: &mut Random, goes_wrong: bool) -> Self {
        let first = random.millis(5..3_000);
        let gap = random.pick(&[0, 3, 40, 700, 2_500]);
        let mishap = match random.below(6) {
            _ if !goes_wrong => None,
            0 => Some(Mishap::Status(500)),
            1 => Some(Mishap::Status(503)),
            2 => Some(Mishap::Status(429)),
            3 => Some(Mishap::Hang(usize::try_from(random.below(4)).unwrap())),
            _ => Some(Mishap::Cut(usize::try_from(random.below(4)).unwrap())),
        };
        Self { first, gap: Duration::from_millis(gap), mishap }
    }
}

/// Holds the time until the request that may be made now has arrived here, if it is made.
pub(super) async fn hold_until_asked(sim: &Sim, process: &str) {
    for _ in 0..PATIENCE {
        if sim.is_asked(process) || !sim.is_alive(process) {
            return;
        }
        yield_now().await;
    }
    sim.note(&format!("{process} does not ask the model yet"));
}

/// Answers for ever.
pub(super) async fn serve(sim: Sim, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(sim.clone(), stream));
    }
}

async fn answer(sim: Sim, mut stream: TcpStream) -> Option<()> {
    let (process, body) = read(&mut stream).await?;
    let Some(course) = sim.asked(&process) else {
        // Whoever died had its request on the way.
        if sim.is_alive(&process) {
            sim.breaks(format!("{process} asks the model, and it was not seen that it would"));
        }
        return None;
    };
    let messages = body["messages"].as_array()?;
    let turn = 1 + u32::try_from(messages.iter().filter(|m| m["role"] == "assistant").count()).ok()?;
    let name = body["model"].as_str()?.to_owned();
    sim.note(&format!("{process} asks {name} for turn {turn}: {course:?}"));
    let line = Line { sim: &sim, process: &process };
    sleep(course.first).await;
    if let Some(Mishap::Status(status)) = course.mishap {
        let error = r#"{"error":{"message":"weather"}}"#;
        let head = format!(
            "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            error.len()
        );
        return line.say(&mut stream, &(head + error)).await;
    }
    let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned();
    let frames = sim.says(&name, turn).frames(turn);
    for (n, frame) in frames.iter().enumerate() {
        match course.mishap {
            Some(Mishap::Cut(at)) if at == n => {
                line.say(&mut stream, &text).await?;
                let polled = sim.n_wakes(&process);
                stream.shutdown().await.ok()?;
                line.wait(&stream, polled).await;
                return None;
            }
            Some(Mishap::Hang(at)) if at == n => {
                line.say(&mut stream, &text).await?;
                sleep(Duration::from_secs(120)).await;
                return None;
            }
            _ => {}
        }
        text.push_str(frame);
        if !course.gap.is_zero() || n + 1 == frames.len() {
            line.say(&mut stream, &text).await?;
            text.clear();
            sleep(course.gap).await;
        }
    }
    Some(())
}

struct Line<'a> {
    sim: &'a Sim,
    process: &'a str,
}

impl Line<'_> {
    /// Sends this, and holds the time until it was read. Whoever sleeps is not disturbed.
    async fn say(&self, stream: &mut TcpStream, text: &str) -> Option<()> {
        if text.is_empty() {
            return Some(());
        }
        while let Some(until) = self.sim.asleep(self.process) {
            sleep_until(until + Duration::from_millis(1)).await;
        }
        let polled = self.sim.n_wakes(self.process);
        stream.write_all(text.as_bytes()).await.ok()?;
        self.wait(stream, polled).await;
        Some(())
    }

    async fn wait(&self, stream: &TcpStream, polled: u64) {
        for _ in 0..PATIENCE {
            let is_gone = !self.sim.is_alive(self.process) || matches!(stream.try_read(&mut [0; 16]), Ok(0));
            if is_gone || self.sim.n_wakes(self.process) > polled {
                break;
            }
            yield_now().await;
        }
        for _ in 0..WITHIN {
            yield_now().await;
        }
    }
}

/// A whole request: the process that its key names, and its body.
async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 16 * 1024];
        let n = stream.read(&mut buffer).await.ok()?;
        bytes.extend_from_slice(&buffer[..n]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let field =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
            let length: usize = field("content-length:")?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                let process = field("authorization:")?.strip_prefix("bearer ")?.to_owned();
                return Some((process, serde_json::from_slice(&bytes[end + 4..]).ok()?));
            }
        }
        if n == 0 {
            return None;
        }
    }
}
