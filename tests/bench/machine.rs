//! The machine that is measured on, and what the kernel says of a process.

use std::{fs, time::Duration};

use serde_json::{Value, json};

/// The kernel's unit of processor time in /proc (`USER_HZ`, which is 100 on every Linux).
const TICK: Duration = Duration::from_millis(10);

/// The machine, as its reader wants to know it.
pub(crate) fn describe() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |file: &str, name: &str| {
        let line = file.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "processor": named(&cpus, "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": named(&memory, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load": load(),
    })
}

/// The load of the last minute: above the number of cores, times are no good.
pub(crate) fn load() -> String {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split_whitespace().next().unwrap_or_default().to_owned()
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Its memory now, and at most, in MB.
    pub(crate) resident_mb: f64,
    pub(crate) peak_mb: f64,
    /// Processor time of all its threads.
    pub(crate) cpu: Duration,
}

/// What this process has used so far.
pub(crate) fn usage(process: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let kb = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name, which may have anything in it: `utime` and `stime` are the 12th and 13th.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.map(|n| n.parse::<u32>().unwrap()).sum();
    Usage { resident_mb: kb("VmRSS:") / 1024.0, peak_mb: kb("VmHWM:") / 1024.0, cpu: TICK * ticks }
}
