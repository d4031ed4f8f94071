//! Watching a job until it ends: its events are drawn, or printed, as they come, and its questions put to the person at
//! the terminal. Where there is none, or they do not answer, the watching ends when nothing but an answer can help.

use std::{
    collections::BTreeSet,
    future::{self, Future},
    io,
    pin::{Pin, pin},
    process::ExitCode,
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use http::StatusCode;
use tokio::time::{Instant, MissedTickBehavior, interval};
use url::Url;

use super::{
    CANCELLED, FAILED, PATIENCE, WAITS, ask,
    ask::Dialog,
    client::{Client, ClientError},
    complain, ended,
    event::{Event, Job},
    hint::Hint,
    lines,
    outline::Outline,
    person::Person,
    read,
    screen::{Line, Look, Style, Terminal},
    sse::Frame,
    stream::{self, Following, Told},
    text,
    view::View,
};
use crate::cli::Caller;

/// How long to wait before a stream is asked for again, until the server says how long.
const RETRY: Duration = Duration::from_secs(1);
/// How often what moves is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How a job is watched.
pub(super) struct Watch<'a> {
    pub(super) base: &'a Url,
    pub(super) caller: Option<&'a str>,
    /// Whether the system stops with this process.
    pub(super) owned: bool,
    /// Whether events are printed as JSON, and nobody is asked.
    pub(super) json: bool,
    /// The number of the event to begin after.
    pub(super) after: u64,
    /// How long the stream may be out of reach.
    pub(super) patience: Duration,
    /// The shape of the job's workflow, as far as it is known.
    pub(super) outline: Outline,
}

/// Why watching ended before the job did.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("interrupted")]
    Interrupted,
    #[error("the job waits for an answer")]
    Waits(Box<Job>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// What happens next.
enum Next {
    Told(Option<Result<Told, ClientError>>),
    Typed(Option<String>),
    Look,
    Frame,
}

/// One watching.
struct Watching<'a> {
    client: &'a Client,
    id: &'a str,
    out: &'a mut Terminal,
    /// `None`: each event is a line of JSON.
    view: Option<View>,
    begin: Instant,
    person: Option<Person>,
    dialog: Option<Dialog>,
    /// Questions that the person left waiting.
    left: BTreeSet<String>,
    /// Whether there may be open questions, and whether it is time to look.
    asks: bool,
    look: bool,
    /// The number of the last event.
    seen: u64,
    /// How the job ended.
    status: Option<String>,
}

impl<'a> Watch<'a> {
    /// From the first event on, for people.
    pub(super) fn new(base: &'a Url, caller: &'a Caller, owned: bool) -> Self {
        let caller = caller.user.as_deref();
        Self { base, caller, owned, json: false, after: 0, patience: PATIENCE, outline: Outline::default() }
    }

    pub(super) async fn job(
        self,
        client: Client,
        job: Job,
        interrupted: impl Future<Output = ()>,
        out: &mut Terminal,
    ) -> anyhow::Result<ExitCode> {
        let hint = Hint::new(out, self.base, self.caller, self.owned);
        let stream_url = match client.stream_url_of(&job).await {
            Ok(stream_url) => stream_url,
            Err(error) => return complain(&error, out),
        };
        let from =
            Following { job_id: job.id.clone(), stream_url, after: self.after, retry: RETRY, patience: self.patience };
        let person = out.take_person().filter(|_| !self.json);
        let mut view = (!self.json).then(|| View::new(job.clone(), self.after, self.outline, out.look()));
        if let Some(view) = &mut view {
            view.asks_here = person.is_some();
        }
        let asks = job.status == "input_required" || job.open_requests().next().is_some();
        let mut watching = Watching {
            client: &client,
            id: &job.id,
            out: &mut *out,
            view,
            begin: Instant::now(),
            person,
            dialog: None,
            left: BTreeSet::new(),
            asks,
            look: asks,
            seen: self.after,
            status: None,
        };
        let watched = watching.until_its_end(pin!(stream::follow(client.clone(), from)), pin!(interrupted)).await;
        let tell_how_to_return = |out: &mut Terminal| {
            let what = if self.owned {
                let program = out.invocation().program.trim_end_matches(" --");
                format!("the job goes on the next time the system starts ({program}); then watch it with: ")
            } else {
                "the job goes on as long as its system runs; watch it with: ".to_owned()
            };
            out.tell(&Line::of(Style::Dim, what).with(Style::Bold, hint.command(&format!("follow {}", job.id))))
        };
        match watched {
            Ok(status) => Ok(exit_code(&status)),
            Err(WatchError::Interrupted) => ended(tell_how_to_return(out), ExitCode::from(CANCELLED)),
            Err(WatchError::Waits(job)) => ended(tell_what_it_waits_for(&job, &hint, out), ExitCode::from(WAITS)),
            Err(WatchError::Client(error)) => {
                let code = complain(&error, out)?;
                tell_how_to_return(out)?;
                Ok(code)
            }
            Err(WatchError::Output(error)) => ended(Err(error), ExitCode::SUCCESS),
        }
    }
}

impl Watching<'_> {
    /// How the job ended.
    async fn until_its_end(
        &mut self,
        mut told: Pin<&mut impl Stream<Item = Result<Told, ClientError>>>,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<String, WatchError> {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watched = loop {
            let moves = self.view.is_some() && self.out.look() != Look::Plain && self.dialog.is_none();
            let asking = self.dialog.is_some();
            let next = tokio::select! {
                biased;
                () = interrupted.as_mut() => break Err(WatchError::Interrupted),
                next = told.next() => Next::Told(next),
                line = typed(self.person.as_mut()), if asking => Next::Typed(line),
                () = future::ready(()), if self.look && !asking => Next::Look,
                _ = frames.tick(), if moves => Next::Frame,
            };
            let done = match next {
                Next::Told(Some(Ok(told))) => self.take(told),
                Next::Told(Some(Err(error))) => Err(error.into()),
                Next::Told(None) => break Ok(()),
                Next::Typed(line) => self.typed(line).await,
                Next::Look => self.look_for_questions().await,
                Next::Frame => Ok(()),
            };
            if let Err(error) = done.and_then(|()| self.draw()) {
                break Err(error);
            }
        };
        let watched = match (watched, self.status.take()) {
            (Ok(()), Some(status)) => Ok(status),
            // The stream had nothing more to tell: the job says how it ended.
            (Ok(()), None) => self.conclude().await,
            (Err(error), _) => Err(error),
        };
        if self.dialog.take().is_some() {
            self.out.write("\n")?;
        }
        if let Some(view) = &mut self.view {
            view.release();
            self.out.print(&view.take_settled())?;
        }
        watched
    }

    async fn conclude(&mut self) -> Result<String, WatchError> {
        let job = self.client.job(self.id).await.and_then(|job| read(self.client, &job))?;
        if let Some(view) = &mut self.view {
            view.conclude(&job);
        }
        Ok(job.status)
    }

    fn take(&mut self, told: Told) -> Result<(), WatchError> {
        let now = self.begin.elapsed();
        match (told, &mut self.view) {
            (Told::Event(frame), _) => self.take_frame(&frame, now)?,
            (Told::Lost, Some(view)) => view.set_lost(true, now),
            (Told::Back, Some(view)) => view.set_lost(false, now),
            (Told::Lost | Told::Back, None) => {}
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: &Frame, now: Duration) -> Result<(), WatchError> {
        let event = Event::parse(&frame.data);
        match &mut self.view {
            None => self.out.write(&(text::json_line(&frame.data) + "\n"))?,
            Some(view) => match &event {
                Ok(event) => {
                    view.look = self.out.look();
                    view.apply(event, now);
                }
                Err(error) => {
                    let what = format!("event {}: {error}", frame.id.clone().unwrap_or_default());
                    return Err(self.client.strange(&what).into());
                }
            },
        }
        self.seen = frame.id.as_ref().and_then(|id| id.parse().ok()).unwrap_or(self.seen);
        self.status = ending(&frame.event).map(str::to_owned).or(self.status.take());
        match frame.event.as_str() {
            "input.requested" | "job.input_required" => self.asks = true,
            "job.running" => self.asks &= self.person.is_some(),
            _ => {}
        }
        self.asks &= self.status.is_none();
        self.look = self.asks;
        let resolved = frame.event == "input.resolved" || self.status.is_some();
        let is_it = |dialog: &mut Dialog| {
            let id = serde_json::from_str::<serde_json::Value>(&frame.data).unwrap_or_default()["id"].take();
            self.status.is_some() || id == dialog.request.id.as_str()
        };
        if resolved && self.dialog.take_if(is_it).is_some() {
            // Somebody else was first.
            self.out.prompt(&Line::new())?;
            self.out.say(&[Line::new()])?;
        }
        Ok(())
    }

    /// Asks the person the next question that is open; where nobody is to be asked, and nothing else goes on, ends the
    /// watching.
    async fn look_for_questions(&mut self) -> Result<(), WatchError> {
        self.look = false;
        let job = self.client.job(self.id).await.and_then(|job| read(self.client, &job))?;
        if let Some(person) = &mut self.person {
            let next = job.open_requests().find(|request| !self.left.contains(&request.id));
            if let Some(request) = next {
                let mut node = None;
                if let Some(view) = &mut self.view {
                    self.out.print(&view.take_settled())?;
                    node = view.node_of(request);
                    view.go_on_below();
                }
                self.out.say(&[Line::new()])?;
                self.out.say(&lines::question(request, node.as_deref(), self.out.look()))?;
                let dialog = Dialog::new(request.clone());
                person.attention().await;
                self.out.prompt(&Line::of(Style::Cyan, dialog.prompt()))?;
                self.dialog = Some(dialog);
                return Ok(());
            }
        }
        self.asks = job.status == "input_required";
        // What the log has still to tell is told first.
        if self.asks && self.seen >= job.last_event.unwrap_or(0) {
            return Err(WatchError::Waits(Box::new(job)));
        }
        Ok(())
    }

    /// Takes in a line that the person typed.
    async fn typed(&mut self, line: Option<String>) -> Result<(), WatchError> {
        let Some(dialog) = &mut self.dialog else { return Ok(()) };
        let Some(line) = line else {
            // Ctrl-D: they are gone.
            self.out.say(&[Line::new()])?;
            (self.dialog, self.person, self.look) = (None, None, true);
            if let Some(view) = &mut self.view {
                view.asks_here = false;
            }
            return Ok(());
        };
        match dialog.take(&line) {
            ask::Next::Ask(wrong) => {
                if let Some(wrong) = wrong {
                    self.out.say(&[Line::of(Style::Red, format!("  {wrong}"))])?;
                }
                self.out.prompt(&Line::of(Style::Cyan, dialog.prompt()))?;
            }
            ask::Next::Later => {
                self.left.insert(dialog.request.id.clone());
                (self.dialog, self.look) = (None, true);
            }
            ask::Next::Send(action, data) => {
                match self.client.answer(self.id, &dialog.request.id, &action, data.as_ref()).await {
                    Ok(_) => self.dialog = None,
                    Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::UNPROCESSABLE_ENTITY => {
                        dialog.again();
                        self.out.say(&[Line::of(Style::Red, format!("  {}", text::one_line(&refusal.message)))])?;
                        self.out.prompt(&Line::of(Style::Cyan, dialog.prompt()))?;
                    }
                    Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::CONFLICT => {
                        self.out.say(&[Line::of(Style::Yellow, format!("  {}", text::one_line(&refusal.message)))])?;
                        self.dialog = None;
                    }
                    Err(error) => return Err(error.into()),
                }
                self.look = self.dialog.is_none();
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<(), WatchError> {
        // While somebody types, nothing moves.
        if let Some(view) = self.view.as_mut().filter(|_| self.dialog.is_none()) {
            view.look = self.out.look();
            self.out.draw(&view.take_settled(), &view.alive(self.begin.elapsed()))?;
        }
        Ok(())
    }
}

async fn typed(person: Option<&mut Person>) -> Option<String> {
    match person {
        Some(person) => person.line().await,
        None => None,
    }
}

/// Says what a job waits for, and how to answer.
fn tell_what_it_waits_for(job: &Job, hint: &Hint, out: &mut Terminal) -> io::Result<()> {
    let look = out.look();
    out.tell(&Line::of(Style::Yellow, format!("{} waits for an answer:", job.id)))?;
    for request in job.open_requests() {
        for line in lines::question_with_commands(&job.id, request, hint, look) {
            out.tell(&line)?;
        }
    }
    let follow = hint.command(&format!("follow {}", job.id));
    out.tell(&Line::of(Style::Dim, "then watch it with: ").with(Style::Bold, follow))
}

/// Ctrl-C. Where that cannot be noticed, it ends the process as it always does.
pub(super) async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The status that an event ends a job with.
fn ending(event: &str) -> Option<&str> {
    event.strip_prefix("job.").filter(|status| matches!(*status, "completed" | "failed" | "cancelled"))
}

fn exit_code(status: &str) -> ExitCode {
    match status {
        "completed" => ExitCode::SUCCESS,
        "cancelled" => ExitCode::from(CANCELLED),
        _ => ExitCode::from(FAILED),
    }
}
