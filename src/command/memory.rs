//! The memory limit of this process on Linux.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the machine's memory or the container's limit, whichever is lower, in bytes.
pub(super) fn limit() -> Option<u64> {
    limit_below(Path::new("/"))
}

fn limit_below(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_files(root, line)).flatten();
    // Without a limit, the file contains "max" (cgroup v2) or a number larger than any machine's memory (v1).
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(physical(root)).min()
}

fn physical(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the paths of a control group's memory limit files.
///
/// `line` is a line of `/proc/self/cgroup`: `hierarchy:controllers:path`. In version 2, the list of controllers is
/// empty (see cgroups(7)). The limits of all parent groups apply as well. In a container, `path` may be the path on the
/// host, but only the group's own files are visible, at the root of the mount.
fn limit_files(root: &Path, line: &str) -> Option<Vec<PathBuf>> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    Some(groups.map(|group| root.join(mount).join(group).join(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the limit on a machine with these files.
    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_below(root.path())
    }

    #[test]
    fn the_limit_is_the_lowest_of_the_machine_and_all_parent_groups() {
        let machine = ("proc/meminfo", "MemTotal:        2048 kB\nMemFree:         1024 kB\n");
        let (v1, v2) = ("5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/abc\n", "0::/a.slice/b.service\n");
        let group = |text| ("proc/self/cgroup", text);
        for (files, expected) in [
            (&[][..], None),
            (&[machine], Some(2 << 20)),
            (&[machine, group("0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")], Some(2 << 20)),
            (&[machine, group("0::/\n"), ("sys/fs/cgroup/memory.max", "1000\n")], Some(1000)),
            (&[machine, group("0::/\n"), ("sys/fs/cgroup/memory.max", "9000000\n")], Some(2 << 20)),
            (
                &[
                    group(v2),
                    ("sys/fs/cgroup/a.slice/memory.max", "2000"),
                    ("sys/fs/cgroup/a.slice/b.service/memory.max", "3000"),
                ],
                Some(2000),
            ),
            (&[group(v1), ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "4000")], Some(4000)),
            (&[group(v1), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000")], Some(5000)),
            (&[group(v1), ("sys/fs/cgroup/memory.max", "6000")], None),
        ] {
            assert_eq!(limit_with(files), expected, "{files:?}");
        }
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(physical(Path::new("/")).is_some_and(|bytes| bytes > 1 << 20));
    }
}
