//! A job's events, each once and in order, over as many connections as it takes.
//!
//! The number of the last event that was handed on is the only state: every connection asks for what follows it, and
//! whatever is not newer is dropped.

use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::{
    client::{Client, ClientError, Opened},
    sse::{Frame, FrameParser, Said},
};

/// What following a job tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// The next event.
    Event(Frame),
    /// There is no connection; it will be tried again.
    Lost,
    /// There is one again.
    Back,
}

/// What to follow, and with how much patience.
#[derive(Debug, Clone)]
pub(super) struct Following {
    /// The job.
    pub(super) job_id: String,
    /// Its stream.
    pub(super) stream_url: Url,
    /// The number of the last event that is known already.
    pub(super) after: u64,
    /// How long to wait before coming back, until the server says how long.
    pub(super) retry: Duration,
    /// How long nothing may answer until following ends with an error.
    pub(super) patience: Duration,
}

/// The server pings every 15 s: after three times that, nobody is there.
const SILENCE: Duration = Duration::from_secs(45);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// New addresses that are refused as too old one after the other: clocks are apart, asking on is no use.
const EXPIRED_IN_A_ROW: u32 = 5;

/// The job's events until its end. The stream ends when the job has ended and every event was told.
pub(super) fn follow(client: Client, from: Following) -> impl Stream<Item = Result<Told, ClientError>> + Send {
    async_stream::try_stream! {
        let Following { job_id, mut stream_url, after: mut cursor, mut retry, patience } = from;
        let mut failures = 0;
        let mut n_expired = 0;
        let mut last_contact = Instant::now();
        loop {
            let mut opened = client.open(&stream_url, cursor).await;
            if matches!(opened, Ok(Opened::Expired)) {
                n_expired += 1;
                if n_expired >= EXPIRED_IN_A_ROW {
                    Err(client.strange("every new address of the stream has expired already"))?;
                }
                match client.stream_url(&job_id).await {
                    Ok(fresh) => {
                        stream_url = fresh;
                        continue;
                    }
                    Err(error) => opened = Err(error),
                }
            }
            let mut wait = retry;
            match opened {
                Ok(Opened::Finished) => return,
                Ok(Opened::Stream(mut response)) => {
                    n_expired = 0;
                    if std::mem::take(&mut failures) > 0 {
                        yield Told::Back;
                    }
                    let mut parser = FrameParser::default();
                    // Any end but `done` means: come back, whether it was the server's wish or an accident.
                    while let Ok(Ok(Some(bytes))) = timeout(SILENCE, response.chunk()).await {
                        for said in parser.push(&bytes) {
                            match said {
                                Said::Retry(span) => retry = span.min(LONGEST_WAIT),
                                Said::Frame(frame) if frame.event == "done" => return,
                                Said::Frame(frame) => {
                                    // Only what stands in the log carries a number.
                                    let Some(id) = &frame.id else { continue };
                                    let number: u64 =
                                        id.parse().map_err(|_| client.strange("an event's id is not a number"))?;
                                    if number > cursor {
                                        cursor = number;
                                        yield Told::Event(frame);
                                    }
                                }
                            }
                        }
                    }
                    last_contact = Instant::now();
                    wait = retry;
                }
                Ok(Opened::Expired) => {}
                Err(error) => {
                    if !error.is_passing() || last_contact.elapsed() >= patience {
                        Err(error)?;
                    } else {
                        if failures == 0 {
                            yield Told::Lost;
                        }
                        failures += 1;
                        let backoff = retry.saturating_mul(1 << failures.min(4)) / 2;
                        wait = error.retry_after().unwrap_or(backoff).min(LONGEST_WAIT);
                    }
                }
            }
            sleep(wait).await;
        }
    }
}
