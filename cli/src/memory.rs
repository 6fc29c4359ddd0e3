//! How much memory the process may take.

use backfill::budget::Budget;
use rustix::process::{Resource, getrlimit};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// The budget of each of so many workers in this process.
pub fn budget(workers: u32) -> Budget {
    available().map_or_else(Budget::default, |bytes| Budget::new(bytes, workers))
}

/// The least of the machine's memory, that of the process's control group (version 1 or 2), and the process's own limits; `None`
/// where the system tells nothing.
fn available() -> Option<u64> {
    let limits = [Resource::Data, Resource::As].map(|resource| getrlimit(resource).current);
    [physical(), control_group()].into_iter().chain(limits).flatten().filter(|bytes| *bytes > 0).min()
}

fn physical() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory())
}

fn control_group() -> Option<u64> {
    let (mut system, own) = (System::new().ok()?, sysinfo::get_current_pid().ok()?);
    let processes = ProcessesToUpdate::Some(&[own]);
    system.refresh_processes_specifics(processes, false, ProcessRefreshKind::nothing());
    Some(system.process(own)?.cgroup_limits()?.total_memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_how_much_memory_there_is() {
        let available = available().unwrap();
        assert!(available > 64 << 20, "{available}");
        assert!(available <= physical().unwrap());
        assert!(budget(8).metadata <= budget(1).metadata);
    }
}
