//! The scheduling priority of threads.

use rustix::process::setpriority_process;

/// The nice value of background threads, see setpriority(2).
///
/// On a core that has no time left, they still get a third of it, enough to write what the rest produces.
const BACKGROUND: i32 = 3;

/// Lowers the priority of the calling thread, so that it interrupts the threads that serve requests less.
///
/// On Linux, the nice value belongs to a thread. Elsewhere, nothing changes, and neither does it on an error.
pub(crate) fn run_in_background() {
    if cfg!(target_os = "linux") {
        let _ = setpriority_process(None, BACKGROUND);
    }
}
