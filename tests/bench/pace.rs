//! How quick the machine is while something is measured. A virtual machine is slower at times by a half, without any stolen
//! time in the kernel's figures; those of two runs say something about the code when the pace was the same. It is the pace
//! beside the load: a build that leaves less of the caches slows the probe, too.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::requests::two_agents;

/// Between two probes.
const EVERY: Duration = Duration::from_millis(50);
/// How often a probe does its work: a tenth of a millisecond altogether, so that probes take a five-hundredth of one core.
const REPETITIONS: usize = 12;

/// A thread that does the same small piece of work again and again.
pub(crate) struct Pace {
    is_over: Arc<AtomicBool>,
    probes: JoinHandle<Vec<Duration>>,
}

impl Pace {
    /// Begins to look.
    pub(crate) fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let probes = thread::spawn(move || {
            let document = two_agents().to_string();
            let mut probes = vec![];
            while !over.load(Ordering::Relaxed) {
                probes.push(probe(&document));
                thread::sleep(EVERY);
            }
            probes
        });
        Self { is_over, probes }
    }

    /// Processor time of a probe, in microseconds, in the middle of all.
    pub(crate) fn finish(self) -> f64 {
        self.is_over.store(true, Ordering::Relaxed);
        let mut probes = self.probes.join().unwrap();
        probes.sort();
        probes[probes.len() / 2].as_secs_f64() * 1e6
    }
}

/// Reads and prints JSON, as the system does.
fn probe(document: &str) -> Duration {
    let begun = processor_time();
    for _ in 0..REPETITIONS {
        let read: Value = serde_json::from_str(black_box(document)).unwrap();
        black_box(read.to_string());
    }
    processor_time() - begun
}

/// What this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
