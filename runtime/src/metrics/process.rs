//! What the kernel says about this process.

use actors::metric;

use super::exposition::Exposition;

/// The kernel counts CPU time in these for every process, on all machines of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds the `process_*` metrics; on a system without `/proc` there are none.
pub(super) fn put(exposition: &mut Exposition) {
    exposition.put(
        metric::PROCESS_RESIDENT_BYTES,
        &[],
        resident_bytes().map(|bytes| bytes as f64),
    );
    exposition.put(metric::PROCESS_OPEN_FDS, &[], open_fds().map(|count| count as f64));
    let stat = std::fs::read_to_string("/proc/self/stat").ok();
    // The second field is the program's name in parentheses, which may hold spaces.
    let fields: Vec<&str> = stat
        .as_deref()
        .and_then(|stat| stat.rsplit_once(')'))
        .map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<f64>().ok())
            .map(|t| t / TICKS_PER_SECOND)
    };
    let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    exposition.put(metric::PROCESS_CPU_SECONDS, &[], cpu);
    let started = ticks(19).zip(boot_time()).map(|(since_boot, boot)| boot + since_boot);
    exposition.put(metric::PROCESS_START_TIME, &[], started);
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_fds() -> Option<usize> {
    // One of them is the directory that is being read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}
