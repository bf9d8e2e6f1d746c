//! The machine that the figures are from: which cores there are, how busy it is, how much of it others take.

use std::process::Command;

use serde::Serialize;

use super::PeersError;

/// What a report says of the machine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_gib: f64,
    pub(super) kernel: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = value_of(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".into());
        let memory = value_of(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / 1_048_576.0 * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
        }
    }
}

/// The value of the first line `NAME : VALUE`.
fn value_of(text: &str, name: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().into())
}

/// The load average over the last minute.
pub(super) fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// CPU time of a core since the machine's start, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CoreTime {
    total: u64,
    idle: u64,
    /// Time that the hypervisor gave to others while this machine wanted to run.
    steal: u64,
}

impl CoreTime {
    pub(super) fn of(core: usize) -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?, core)
    }

    /// The line `cpuN` of proc_stat(5): user nice system idle iowait irq softirq steal, then guest times, which user time holds.
    fn parse(stat: &str, core: usize) -> Option<Self> {
        let name = format!("cpu{core}");
        let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
        let times: Option<Vec<u64>> =
            line.split_whitespace().skip(1).take(8).map(|t| t.parse().ok()).collect();
        let times = times.filter(|times| times.len() == 8)?;
        Some(Self { total: times.iter().sum(), idle: times[3] + times[4], steal: times[7] })
    }

    /// Shares of the time since `before`: how much was stolen, and how much of the core was in use.
    pub(super) fn since(self, before: Self) -> Option<(f64, f64)> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)? as f64;
        let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / total;
        Some((share(self.steal, before.steal), 1.0 - share(self.idle, before.idle)))
    }
}

/// The cores that this process may use.
pub(super) fn allowed_cores() -> Option<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    cores_of(&value_of(&status, "Cpus_allowed_list")?)
}

/// A list such as `0-2,5`.
fn cores_of(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?);
    }
    Some(cores)
}

/// Keeps this process, with all the threads it has and will have, on one core.
pub(super) fn pin_self(core: usize) -> Result<(), PeersError> {
    let failed = |why: String| PeersError::Pin { core, why };
    let me = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-p", "-c", &core.to_string(), &me]).output();
    let output = output.map_err(|error| failed(format!("taskset, of util-linux: {error}")))?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(failed(complaint)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_and_used_time_are_shares_of_what_passed() {
        let stat = |idle: u64, steal: u64| {
            format!(
                "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 100 0 100 {idle} 0 0 0 {steal} 9 9\ncpu10 9 9 9 9 9 9 9 9 9 9\n"
            )
        };
        let before = CoreTime::parse(&stat(1000, 10), 1).unwrap();
        let after = CoreTime::parse(&stat(1060, 50), 1).unwrap();
        assert_eq!(after.since(before), Some((0.4, 0.4)));
        assert_eq!(after.since(after), None, "no time passed");
        assert_eq!(CoreTime::parse(&stat(1, 1), 2), None);
        assert_eq!(CoreTime::parse("cpu0 1 2 3", 0), None);
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(cores_of("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cores_of("3"), Some(vec![3]));
        assert_eq!(cores_of("all"), None);
        assert!(!allowed_cores().unwrap().is_empty());
    }
}
