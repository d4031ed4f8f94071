//! Somebody who follows a job's stream.

use futures_util::{Stream, StreamExt};
use reqwest::{Client, StatusCode};
use serde_json::Value;

type Bytes = std::pin::Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

/// A frame of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Its number.
    pub id: u64,
    /// Its type.
    pub event: String,
    /// Its data.
    pub data: Value,
}

/// Somebody who follows a job's stream.
pub struct Viewer {
    /// How the server answered.
    pub status: StatusCode,
    bytes: Bytes,
    /// Bytes, not text: a read may end in the middle of a character.
    buffer: Vec<u8>,
    /// How much of it is known to hold no end of a frame.
    looked: usize,
    /// Whether `event: done` came.
    pub done: bool,
    /// Comments that came.
    pub comments: Vec<String>,
}

impl Viewer {
    /// Connects, with a cursor.
    pub async fn connect(http: &Client, url: &str, after: u64) -> Self {
        Self::try_connect(http, url, after).await.unwrap()
    }

    /// Connects, with a cursor, to a server that may be gone.
    pub async fn try_connect(http: &Client, url: &str, after: u64) -> reqwest::Result<Self> {
        let mut request = http.get(url);
        if after > 0 {
            request = request.header("last-event-id", after);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes_stream().filter_map(|bytes| async move { bytes.ok().map(|bytes| bytes.to_vec()) });
        Ok(Self::over(status, bytes))
    }

    /// Reads an answer that is there.
    pub fn over(status: StatusCode, bytes: impl Stream<Item = Vec<u8>> + Send + 'static) -> Self {
        Self { status, bytes: Box::pin(bytes), buffer: vec![], looked: 0, done: false, comments: vec![] }
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            while let Some(end) = self.buffer[self.looked..].windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..self.looked + end + 2).collect();
                self.looked = 0;
                if let Some(frame) = self.read(std::str::from_utf8(&block).expect("a frame is text")) {
                    return Some(frame);
                }
            }
            self.looked = self.buffer.len().saturating_sub(1);
            let bytes = self.bytes.next().await?;
            self.buffer.extend(bytes);
        }
    }

    /// Everything to the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = vec![];
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    fn read(&mut self, block: &str) -> Option<Frame> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        self.comments.extend(block.lines().filter(|line| line.starts_with(':')).map(str::to_owned));
        if field("event: ") == Some("done") {
            self.done = true;
            return None;
        }
        Some(Frame {
            id: field("id: ")?.parse().ok()?,
            event: field("event: ")?.to_owned(),
            data: serde_json::from_str(field("data: ")?).ok()?,
        })
    }
}
