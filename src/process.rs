//! What the process forbids the system to do with its memory.
//!
//! SECURITY: a core dump would hold passwords, keys and clients' data, and whoever may debug a process reads them without
//! one. A process that is not dumpable belongs to root in `/proc` (its environment, its memory, its open files), and other
//! processes of its user cannot attach to it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No core dump, no debugger. To be called before a secret is read. What the system refuses is left as it is: neither is
/// worth not serving for.
pub(crate) fn forbid_dumps() {
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
    set_dumpable(false);
}

/// Takes that back, where the configuration says `core_dumps: yes`: dumps as large as the system allows.
pub(crate) fn allow_dumps() {
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit });
    set_dumpable(true);
}

#[cfg(target_os = "linux")]
fn set_dumpable(dumpable: bool) {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let how = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    let _ = set_dumpable_behavior(how);
}

#[cfg(not(target_os = "linux"))]
fn set_dumpable(_: bool) {}
