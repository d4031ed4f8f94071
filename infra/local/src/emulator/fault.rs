//! Faults at the SDK's HTTP-client seam: requests are counted, and a chosen one is cut, doubled, held or loses its answer.
//!
//! Two things are told apart. *The process died* ([`Fault::CutBefore`], [`Fault::CutAfter`]): the handle is dead for
//! ever, nothing more leaves it, and the harness drops the worker's future when [`Process::died`] resolves. *The answer
//! was lost* ([`Fault::LoseAnswer`]): the SDK sees a connection error and retries by itself, if its client is configured
//! to. Both find different bugs. `cargo run` wraps nothing.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

mod client;
mod gate;

pub use client::FaultClient;
pub use gate::Gate;

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The process dies before the request leaves it.
    CutBefore,
    /// The request is delivered, and the process dies before the answer arrives.
    CutAfter,
    /// The request is delivered; instead of the answer comes a connection error, which the SDK retries.
    LoseAnswer,
    /// The request is lost on its way; a connection error comes back, which the SDK retries.
    LoseRequest,
    /// The request is delivered twice, back to back, and one of the answers comes back.
    Duplicate(Answer),
    /// The request is delivered and answered, and a copy of it lands when the gate opens.
    DuplicateLate(Gate),
    /// The request is held until the gate opens, then delivered.
    Hold(Gate),
    /// The request is delivered and its answer held until the gate opens.
    HoldAnswer(Gate),
}

/// Which answer of a doubled request comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// The first delivery's.
    First,
    /// The second delivery's: what a client sees whose own retry met its own work.
    #[default]
    Second,
}

/// Whom a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// DynamoDB.
    DynamoDb,
    /// SQS.
    Sqs,
    /// The language model.
    Model,
    /// Anything else.
    Other,
}

/// One outbound request, as it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Its number among all requests of all processes, from 1. An SDK retry is a request of its own.
    pub n: u64,
    /// The process that sent it.
    pub process: String,
    /// Its number among its process's requests, from 1.
    pub nth: u64,
    /// Whom it went to.
    pub service: Service,
    /// The operation, such as `PutItem`.
    pub operation: String,
    /// What it touches: keys and how, or the queue and the message.
    pub summary: String,
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n, process, nth, operation, summary, .. } = self;
        write!(f, "{n} {process}/{nth} {operation} {summary}")
    }
}

/// The faults of one test run, shared by its processes.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    sent: Vec<Outbound>,
    by_process: HashMap<String, u64>,
    planned: Vec<Planned>,
}

struct Planned {
    when: Box<dyn FnMut(&Outbound) -> bool + Send>,
    fault: Fault,
    hit: Option<u64>,
}

impl Faults {
    /// No faults; requests are counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// A process: its clients' requests are counted and broken together, and it dies alone. The same name may be used
    /// again after a death; it goes on counting.
    pub fn process(&self, name: &str) -> Process {
        Process { name: name.to_owned(), faults: self.clone(), dead: Arc::new(watch::Sender::new(false)) }
    }

    /// Plans a fault for the n-th request of all (from 1).
    pub fn at(&self, n: u64, fault: Fault) {
        self.when(move |sent| sent.n == n, fault);
    }

    /// Plans a fault for the first request from now on that `when` accepts. It is called for every request, in order,
    /// and must not use this value.
    pub fn when(&self, when: impl FnMut(&Outbound) -> bool + Send + 'static, fault: Fault) {
        self.state().planned.push(Planned { when: Box::new(when), fault, hit: None });
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.state().sent.len() as u64
    }

    /// Every request so far, in order.
    pub fn sent(&self) -> Vec<Outbound> {
        self.state().sent.clone()
    }

    /// Whether something was planned and every planned fault met its request.
    pub fn was_hit(&self) -> bool {
        let state = self.state();
        !state.planned.is_empty() && state.planned.iter().all(|p| p.hit.is_some())
    }

    /// The numbers of the requests that met a fault, in the order in which the faults were planned.
    pub fn hits(&self) -> Vec<u64> {
        self.state().planned.iter().filter_map(|p| p.hit).collect()
    }

    fn admit(&self, process: &str, service: Service, operation: &str, summary: String) -> Option<Fault> {
        let mut state = self.state();
        let state = &mut *state;
        let nth = state.by_process.entry(process.to_owned()).or_default();
        *nth += 1;
        let sent = Outbound {
            n: state.sent.len() as u64 + 1,
            process: process.to_owned(),
            nth: *nth,
            service,
            operation: operation.to_owned(),
            summary,
        };
        let planned = state.planned.iter_mut().filter(|p| p.hit.is_none()).find_map(|p| (p.when)(&sent).then_some(p));
        let fault = planned.map(|planned| {
            planned.hit = Some(sent.n);
            planned.fault.clone()
        });
        state.sent.push(sent);
        fault
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("hits", &self.hits()).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// The process is dead. Not to be retried.
    Dead,
    /// The connection broke; whether the request arrived is not known. To be retried as such errors are.
    Lost,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead => "this process is dead",
            Self::Lost => "the connection was reset",
        })
    }
}

impl std::error::Error for NoAnswer {}

/// One process's life: alive until a fault or [`kill`](Self::kill) ends it. Clones share it.
#[derive(Clone)]
pub struct Process {
    name: String,
    faults: Faults,
    dead: Arc<watch::Sender<bool>>,
}

impl Process {
    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it: no answer arrives and no request leaves any more.
    pub fn kill(&self) {
        self.dead.send_replace(true);
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Resolves when it dies: drop the worker's future then.
    pub fn died(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut dead = self.dead.subscribe();
        async move {
            // An error means that nobody is left to end it.
            if dead.wait_for(|dead| *dead).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Counts a request and delivers it by `send`, with the fault that is planned for it. [`FaultClient`] calls this for
    /// the SDK's requests; an HTTP client's layer can for the model's.
    pub fn deliver<T, F>(
        &self,
        service: Service,
        operation: &str,
        summary: String,
        send: impl Fn() -> F + Send + 'static,
    ) -> impl Future<Output = Result<T, NoAnswer>> + Send + 'static
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        // Counted now, not at the first poll; a dead process sends nothing that could be counted.
        let fault = if self.is_dead() { None } else { self.faults.admit(&self.name, service, operation, summary) };
        let process = self.clone();
        async move {
            if process.is_dead() {
                return Err(NoAnswer::Dead);
            }
            tokio::select! {
                biased;
                () = process.died() => Err(NoAnswer::Dead),
                answer = process.deliver_with(fault, send) => answer,
            }
        }
    }

    async fn deliver_with<T, F>(&self, fault: Option<Fault>, send: impl Fn() -> F) -> Result<T, NoAnswer>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Some(fault) = fault else {
            return Ok(send().await);
        };
        match fault {
            Fault::CutBefore => {
                self.kill();
                Err(NoAnswer::Dead)
            }
            Fault::CutAfter => {
                send().await;
                self.kill();
                Err(NoAnswer::Dead)
            }
            Fault::LoseAnswer => {
                send().await;
                Err(NoAnswer::Lost)
            }
            Fault::LoseRequest => Err(NoAnswer::Lost),
            Fault::Duplicate(answer) => {
                let first = send().await;
                let second = send().await;
                Ok(match answer {
                    Answer::First => first,
                    Answer::Second => second,
                })
            }
            Fault::DuplicateLate(gate) => {
                let answer = send().await;
                let copy = send();
                // On the network already: it lands whatever becomes of its sender.
                tokio::spawn(async move {
                    gate.pass().await;
                    copy.await;
                });
                Ok(answer)
            }
            Fault::Hold(gate) => {
                gate.pass().await;
                Ok(send().await)
            }
            Fault::HoldAnswer(gate) => {
                let answer = send().await;
                gate.pass().await;
                Ok(answer)
            }
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("dead", &self.is_dead()).finish_non_exhaustive()
    }
}
