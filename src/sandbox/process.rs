//! The processes below one, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getuid};

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProcessStat {
    parent: i32,
    threads: u64,
    resident_pages: u64,
}

/// What a tree of processes uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TreeUsage {
    /// Threads count as processes: both fill the same table.
    pub(super) tasks: u64,
    pub(super) resident_bytes: u64,
}

/// What the descendants of a process use.
pub(super) fn read_usage(ancestor: Pid, page_bytes: u64) -> TreeUsage {
    let processes = read_processes();
    let descendants = descendants(&processes, ancestor.as_raw());
    descendants.iter().filter_map(|pid| processes.get(pid)).fold(
        TreeUsage::default(),
        |sum, one| TreeUsage {
            tasks: sum.tasks + one.threads,
            resident_bytes: sum.resident_bytes + one.resident_pages * page_bytes,
        },
    )
}

/// Tasks of this process's user.
pub(super) fn count_own_processes() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = getuid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == own))
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .map(|stat| stat.threads)
        .sum()
}

/// Ends all descendants of this process, which must be the one that orphans fall to. `leader` is
/// the command's first process: its group is ended in one step, however fast it grows.
pub(super) fn end_descendants(leader: Pid) {
    // It may have ended by itself.
    killpg(leader, Signal::SIGKILL).unwrap_or_default();
    let own = Pid::this().as_raw();
    // Stopped first, so that none starts new ones while others are ended; those that were being
    // started meanwhile are met in the next round.
    for _ in 0..1000 {
        let processes = read_processes();
        let descendants = descendants(&processes, own);
        if descendants.is_empty() {
            return;
        }
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &descendants {
                // It may have ended by itself.
                kill(Pid::from_raw(*pid), signal).unwrap_or_default();
            }
        }
        while waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG))
            .is_ok_and(|status| status.pid().is_some())
        {}
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn read_processes() -> BTreeMap<i32, ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse_stat(&stat)?))
        })
        .collect()
}

/// Reads the fields behind the program's name, which may hold anything, also parentheses.
fn parse_stat(stat: &str) -> Option<ProcessStat> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // proc(5) counts from 1 and the state is field 3.
    let field = |number: usize| fields.get(number - 3);
    Some(ProcessStat {
        parent: field(4)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        resident_pages: field(24)?.parse().ok()?,
    })
}

fn descendants(processes: &BTreeMap<i32, ProcessStat>, ancestor: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, stat) in processes {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![ancestor]);
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            found.push(*child);
            next.push(*child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_named_to_confuse_is_read_all_the_same() {
        let stat = "7 (a) R 1 (b) S 3 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 9 0 100 5000 77 0 0";
        assert_eq!(
            parse_stat(stat),
            Some(ProcessStat { parent: 3, threads: 9, resident_pages: 77 })
        );
        assert_eq!(parse_stat("nonsense"), None);
    }
}
