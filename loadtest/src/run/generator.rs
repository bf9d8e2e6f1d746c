//! How this program itself is doing: CPU, dropped datagrams, lateness.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use crate::histogram::Histogram;

/// Clock ticks a second in `/proc`: fixed on Linux (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// How often the lateness of the signalling tasks is sampled.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// CPU time of a process on this machine, all threads; of this one without a number. `None` where the kernel does not tell.
pub(crate) fn cpu_seconds(pid: Option<u32>) -> Option<f64> {
    let process = pid.map_or_else(|| "self".into(), |pid| pid.to_string());
    cpu_seconds_of(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Fields 14 and 15 of `/proc/PID/stat`; the command in field 2 may hold spaces and parentheses.
fn cpu_seconds_of(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Datagrams that the kernel dropped because this program's sockets on these local ports were full.
pub(crate) fn socket_drops(ports: &HashSet<u16>) -> Option<u64> {
    let read = |path| std::fs::read_to_string(path).ok();
    let tables = [read("/proc/self/net/udp"), read("/proc/self/net/udp6")];
    tables.into_iter().flatten().map(|table| drops_in(&table, ports)).reduce(|a, b| a + b)
}

/// The last column of the lines whose local port (second column, `ADDRESS:PORT` in hexadecimal) is one of these.
fn drops_in(table: &str, ports: &HashSet<u16>) -> u64 {
    let drops = |line: &str| {
        let mut fields = line.split_whitespace();
        let port = fields.nth(1)?.rsplit_once(':')?.1;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports.contains(&port).then_some(fields.last()?.parse::<u64>().ok()?)
    };
    table.lines().skip(1).filter_map(drops).sum()
}

/// Samples how late the runtime wakes a task where the clients' scripts run: as one of them, not in the task that waits for all.
pub(crate) struct LagProbe {
    lag: Arc<Mutex<Histogram>>,
    task: AbortOnDropHandle<()>,
}

impl LagProbe {
    /// Begins. Must be called in a runtime.
    pub(crate) fn start() -> Self {
        let lag = Arc::new(Mutex::new(Histogram::default()));
        let probe = probe_lag(Arc::clone(&lag));
        Self { lag, task: AbortOnDropHandle::new(tokio::spawn(probe)) }
    }

    /// Ends, and gives what it found.
    pub(crate) fn finish(self) -> Histogram {
        self.task.abort();
        std::mem::take(&mut *self.lag.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn probe_lag(lag: Arc<Mutex<Histogram>>) {
    loop {
        let due = Instant::now() + PROBE_EVERY;
        tokio::time::sleep_until(due.into()).await;
        lag.lock().unwrap_or_else(PoisonError::into_inner).add(due.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_command_with_parentheses() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds_of(stat), Some(2.0));
        assert_eq!(cpu_seconds_of("42 (x) S 1"), None);
        assert!(cpu_seconds(None).is_some());
    }

    #[test]
    fn drops_are_those_of_our_own_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 111 2 0000000000000000 5\n\
            2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 112 2 0000000000000000 7\n";
        assert_eq!(drops_in(table, &HashSet::from([8080])), 5);
        assert_eq!(drops_in(table, &HashSet::from([8080, 8081])), 12);
        assert_eq!(drops_in(table, &HashSet::new()), 0);
    }
}
