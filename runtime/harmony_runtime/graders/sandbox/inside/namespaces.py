"""Enters namespaces of its own, then runs its first argument there: given to `python -c`.

What bubblewrap does, where it is not installed. Of the machine's files the program sees the folders that the
further arguments name, to read; all else is new and empty.
"""

import ctypes
import os
import sys

NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS, REMOUNT, BIND, RECURSIVE, PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18,
)  # fmt: skip
DETACH = 2
KILL_WITH_PARENT = 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = ("null", "zero", "full", "random", "urandom")

library = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    program, size, *folders = sys.argv[1:]
    checked(library.prctl(KILL_WITH_PARENT, 9))
    enter()
    inner = os.fork()
    if inner:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 255)
    checked(library.prctl(KILL_WITH_PARENT, 9))
    furnish(folders, size)
    exec(program, {"__name__": "__main__"})


def enter() -> None:
    """The next child is the first process of the new namespaces."""
    user, group = os.geteuid(), os.getegid()
    spaces = NEW_MOUNTS | NEW_NAMES | NEW_IPC | NEW_PROCESSES | NEW_NETWORK
    checked(library.unshare(spaces if user == 0 else spaces | NEW_USER))
    if user:
        for file, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{file}", "w") as told:
                told.write(text)


def furnish(folders: list[str], size: str) -> None:
    """A root folder of its own, with what the program may see."""
    mount("none", "/", None, RECURSIVE | PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", NO_SUID | NO_DEVICES, "mode=755")
    os.mkdir("/tmp/old")
    checked(library.syscall(PIVOT_ROOT[os.uname().machine], b"/tmp", b"/tmp/old"))
    os.chdir("/")
    for path in folders:
        place(path)
    os.mkdir("/dev")
    for name in DEVICES:
        open(f"/dev/{name}", "w").close()
        mount(f"/old/dev/{name}", f"/dev/{name}", None, BIND)
    os.symlink("/tmp", "/dev/shm")
    os.mkdir("/proc")
    mount("proc", "/proc", "proc", NO_SUID | NO_DEVICES | NO_PROGRAMS)
    os.mkdir("/tmp")
    mount("tmpfs", "/tmp", "tmpfs", NO_SUID | NO_DEVICES, f"mode=1777,size={size}")
    checked(library.umount2(b"/old", DETACH))
    os.rmdir("/old")
    mount("none", "/", None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES)


def place(path: str) -> None:
    """Show a folder of the machine, or a link, where it stood."""
    source = f"/old{path}"
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
        return
    os.makedirs(path)
    mount(source, path, None, BIND)
    # What the folder's mount already forbids must be forbidden again.
    kept = os.statvfs(path).f_flag & NO_PROGRAMS
    mount("none", path, None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES | kept)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    checked(
        library.mount(
            os.fsencode(source), os.fsencode(target), os.fsencode(kind) if kind else None,
            ctypes.c_ulong(flags), os.fsencode(options),
        )
    )  # fmt: skip


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
