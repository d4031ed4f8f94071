//! A seeded simulation of the real code, in one thread: several workers, a sweeper, a canceller and viewers, on a network
//! and queues that do whatever they are allowed to do, in a time of its own. The same seed gives the same trace.
//!
//! What is real: engine, store, queue, model client, worker and sweeper functions, the AWS SDK with its retries, the table.
//! What the seed decides is what lies between them ([`wire`], [`lines`], [`model`]): which request is held, lost, doubled,
//! answered from the past, and when; who dies, and who is stopped beyond its lease and comes back ([`life`]). Time is
//! tokio's paused clock, which jumps to the next thing to happen; the domain's clock is read off it. The job is a chat or a
//! workflow ([`flow`]); people answer what it asks and talk to it ([`people`]); viewers read its log or follow the stream
//! function ([`audience`]).
//!
//! The protocol's rules can be removed one at a time, at the seam ([`mutation`]), to see that their absence is found out.

mod audience;
mod cast;
mod check;
mod flow;
mod life;
mod lines;
mod model;
pub mod mutation;
mod people;
mod play;
mod plot;
mod random;
mod road;
mod weather;
mod wire;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{HttpClient as _, HttpConnectorSettings},
    runtime_components::RuntimeComponentsBuilder,
};
use domain::{id::InputRequestId, input_request::InputAnswer};
use local::emulator::{EmbeddedDynamoDb, fault::Faults};
use model_client::Url;
use serde_json::Value;
use tokio::time::Instant;

use self::{
    lines::Lines,
    model::Course,
    mutation::Mutation,
    plot::{Effect, Plot},
    random::Random,
    weather::Trouble,
    wire::Table,
};
pub use weather::Weather;

/// When it began.
const EPOCH_MS: i64 = 1_763_800_000_000;
/// For how long things may go wrong.
const WEATHER_LASTS: Duration = Duration::from_secs(120);

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// What must hold and did not.
    pub violations: Vec<String>,
    /// What the run itself broke on: a panic, a request that the table refused as malformed, a question to the model that was
    /// not foreseen.
    pub broken: Vec<String>,
    /// Everything that happened, in order.
    pub trace: Vec<String>,
    /// The requests of all processes as they were counted at the seam.
    pub sent: Vec<String>,
    /// How many requests met trouble.
    pub troubles: u64,
}

/// Runs a seed.
pub fn run(seed: u64, weather: Weather, mutation: Option<Mutation>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let dynamodb = EmbeddedDynamoDb::in_memory().unwrap();
    runtime.block_on(async {
        let sim = Sim::new(seed, weather, mutation, &dynamodb);
        let violations = sim.play().await;
        let state = sim.state();
        Report {
            violations,
            broken: state.broken.clone(),
            trace: state.trace.clone(),
            sent: sim.0.faults.sent().iter().map(ToString::to_string).collect(),
            troubles: state.troubles,
        }
    })
}

/// A run. Clones are the same one.
#[derive(Clone)]
struct Sim(Arc<Shared>);

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

struct Shared {
    weather: Weather,
    mutation: Option<Mutation>,
    plot: Plot,
    began: Instant,
    table: Table,
    faults: Faults,
    state: Mutex<State>,
}

struct State {
    random: Random,
    trace: Vec<String>,
    violations: Vec<String>,
    broken: Vec<String>,
    troubles: u64,
    lines: Lines,
    /// Requests on the network, copies included.
    travelling: usize,
    processes: BTreeMap<String, Being>,
    n_processes: u64,
    effects: Vec<Effect>,
    /// What each model has said, by turn.
    said: BTreeMap<(String, u32), Vec<String>>,
    /// Answers of people that were accepted, and questions that they were told have expired.
    accepted: Vec<(InputRequestId, InputAnswer)>,
    told_expired: Vec<InputRequestId>,
    /// Messages that were accepted.
    posted: u32,
    /// Heads as they were, in order.
    heads: Vec<Value>,
    /// Entries of the due index as they were found.
    due: BTreeMap<String, Vec<Value>>,
    /// Whether the job's end is in the table.
    is_over: bool,
    /// Transactions that were carried out.
    tokens: HashSet<String>,
    /// Ends of tool calls, as they were first recorded.
    ends: HashMap<String, Value>,
    model_url: Option<Url>,
}

/// What is known of a process.
#[derive(Default)]
struct Being {
    is_alive: bool,
    /// How far its clock is ahead.
    ahead: Duration,
    asleep_until: Option<Instant>,
    wakes: u64,
    /// Lanes of which it has read, before it claimed one, that their turn is one for the model.
    may_ask_in: HashSet<String>,
    /// It has read what its turn has to know.
    has_loaded: bool,
    /// It is about to ask the model.
    shall_ask: Option<Course>,
    /// The time is held, since it may be asking.
    holds_time: bool,
    has_asked: bool,
    /// What meets trouble again.
    unlucky: Option<(String, Trouble, u32)>,
    /// For mutations: its lane as it was claimed, and whether it has written an item since.
    claimed: Option<Value>,
    has_put: bool,
}

impl Sim {
    fn new(seed: u64, weather: Weather, mutation: Option<Mutation>, dynamodb: &EmbeddedDynamoDb) -> Self {
        let mut random = Random::new(seed);
        let components = RuntimeComponentsBuilder::for_tests().build().unwrap();
        let settings = HttpConnectorSettings::builder().build();
        let table = Table(dynamodb.http_client().http_connector(&settings, &components));
        let mut plot = Plot::draw(&mut random);
        if weather.people {
            plot.involve(&mut Random::new(seed ^ 0x70_65_6F_70_6C_65));
        }
        let state = State {
            random,
            trace: vec![],
            violations: vec![],
            broken: vec![],
            troubles: 0,
            lines: Lines::default(),
            travelling: 0,
            processes: BTreeMap::new(),
            n_processes: 0,
            effects: vec![],
            said: BTreeMap::new(),
            accepted: vec![],
            told_expired: vec![],
            posted: 0,
            heads: vec![],
            due: BTreeMap::new(),
            is_over: false,
            tokens: HashSet::new(),
            ends: HashMap::new(),
            model_url: None,
        };
        let (began, faults) = (Instant::now(), Faults::new());
        Self(Arc::new(Shared { weather, mutation, plot, began, table, faults, state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> &Table {
        &self.0.table
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn note(&self, what: &str) {
        let now = self.now();
        self.state().trace.push(format!("{:>9.3} {what}", now.as_secs_f64()));
    }

    fn violated(&self, what: String) {
        self.note(&format!("VIOLATION: {what}"));
        self.state().violations.push(what);
    }

    fn breaks(&self, what: String) {
        self.note(&format!("BROKEN: {what}"));
        self.state().broken.push(what);
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.state().random)
    }

    /// Whether something may go wrong now that goes wrong so often; if so, it counts.
    fn strikes(&self, in_a_thousand: u64) -> bool {
        let fair = self.now() > WEATHER_LASTS;
        let mut state = self.state();
        let strikes = state.random.chance(in_a_thousand) && !fair && state.troubles < self.0.weather.budget;
        state.troubles += u64::from(strikes);
        strikes
    }
}
