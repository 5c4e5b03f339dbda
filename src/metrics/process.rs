//! Metrics of the process under the standard names, from Linux' `/proc`.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Standard names of the metrics of a process, with the form and the help text of each.
/// <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>
pub(super) const DESCRIBED: [(&str, &str, &str); 7] = [
    (
        "process_cpu_seconds_total",
        "counter",
        "CPU time that the process has used, in user and kernel mode.",
    ),
    (
        "process_resident_memory_bytes",
        "gauge",
        "Memory of the process that is in RAM.",
    ),
    (
        "process_virtual_memory_bytes",
        "gauge",
        "Address space of the process.",
    ),
    ("process_threads", "gauge", "Threads of the process."),
    (
        "process_start_time_seconds",
        "gauge",
        "Start of the process, in seconds since 1970.",
    ),
    (
        "process_open_fds",
        "gauge",
        "File descriptors that are open.",
    ),
    (
        "process_max_fds",
        "gauge",
        "File descriptors that may be open: the soft limit.",
    ),
];

/// The metrics of the process. Where there is no `/proc` they are left out.
pub(super) struct ProcessCollector {
    cpu: Counter,
    resident: Gauge,
    address_space: Gauge,
    threads: Gauge,
    start: Gauge,
    open_files: Gauge,
    most_files: Gauge,
}

impl ProcessCollector {
    /// # Errors
    ///
    /// When a name or a help text is malformed, which a test rules out.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let [
            cpu,
            resident,
            address_space,
            threads,
            start,
            open_files,
            most_files,
        ] = DESCRIBED;
        let gauge = |(name, _, help)| Gauge::new(name, help);
        Ok(Self {
            cpu: Counter::new(cpu.0, cpu.2)?,
            resident: gauge(resident)?,
            address_space: gauge(address_space)?,
            threads: gauge(threads)?,
            start: gauge(start)?,
            open_files: gauge(open_files)?,
            most_files: gauge(most_files)?,
        })
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.resident,
            &self.address_space,
            &self.threads,
            &self.start,
            &self.open_files,
            &self.most_files,
        ]
    }

    /// Sets the metrics to what is so now; none if a file of `/proc` cannot be read.
    fn read(&self) -> Option<()> {
        let stat = Stat::of(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let booted = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
        // The directory's own descriptor is one of them.
        let open_files = fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1);
        let ticks = clock_ticks_per_second() as f64;
        self.cpu.reset();
        self.cpu.inc_by(stat.cpu_ticks as f64 / ticks);
        self.resident
            .set(stat.resident_pages as f64 * page_size() as f64);
        self.address_space.set(stat.virtual_bytes as f64);
        self.threads.set(stat.threads as f64);
        self.start
            .set(booted as f64 + stat.start_ticks as f64 / ticks);
        self.open_files.set(open_files as f64);
        let most_files = getrlimit(Resource::Nofile).current;
        self.most_files
            .set(most_files.map_or(f64::INFINITY, |most| most as f64));
        Some(())
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(()) = self.read() else {
            return Vec::new();
        };
        self.parts()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the boot.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Reads the text of the file; none if it is another's. Fields are counted as in `man 5 proc`.
    fn of(text: &str) -> Option<Self> {
        // The second field is the program's name, which may contain spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Returns the time of the boot, in seconds since 1970, from the text of `/proc/stat`.
fn boot_time(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let text =
            "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 12 0 8000 1048576 256 184";
        let expected = Stat {
            cpu_ticks: 300,
            threads: 12,
            start_ticks: 8000,
            virtual_bytes: 1_048_576,
            resident_pages: 256,
        };
        assert_eq!(Stat::of(text), Some(expected));
        assert_eq!(Stat::of("7 (cut off) S 1"), None);
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1700000000\nprocesses 9\n"),
            Some(1_700_000_000)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_values_are_those_of_this_process() {
        let process = ProcessCollector::new().unwrap();
        process.read().unwrap();
        let files = process.open_files.get();
        let _open = fs::File::open("/proc/self/stat").unwrap();
        process.read().unwrap();
        // Other tests of this process open and close files meanwhile.
        assert!(files >= 3.0 && process.open_files.get() >= 4.0);
        assert!(process.resident.get() > 1e6);
        assert!(process.address_space.get() >= process.resident.get());
        assert!(process.threads.get() >= 1.0);
        assert!(process.most_files.get() >= process.open_files.get());
        // After 2020, and not later than this test.
        let now = crate::net::clock::unix_seconds(crate::net::clock::system_time());
        assert!(process.start.get() > 1_577_836_800.0 && process.start.get() <= now as f64 + 1.0);
        assert_eq!(process.collect().len(), DESCRIBED.len());
    }
}
