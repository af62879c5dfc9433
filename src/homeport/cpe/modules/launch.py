"""Becomes an execution unit: run as a program of its own, it gives itself the limits and then the unit's command.

    python -I -S launch.py '{"parent": 123, "limits": {...}, "user": null}' COMMAND ARGUMENT...

It is a process of its own because nothing may run between fork and exec in a program that has threads. Standard library only; what goes
wrong is said on standard error, which is the unit's log, with exit status 127. Whoever started it must make it a session leader.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

_PLAIN = {
    "cpu_seconds": resource.RLIMIT_CPU,
    "files": resource.RLIMIT_NOFILE,
    "file_size": resource.RLIMIT_FSIZE,
    "memory": resource.RLIMIT_AS,
}


def become(spec: dict[str, object], command: list[str]) -> None:
    """Never returns where all goes well. Raises OSError, ValueError."""
    limits: dict[str, int] = spec["limits"]  # type: ignore[assignment]
    user: list[int] | None = spec["user"]  # type: ignore[assignment]
    os.umask(0o027)
    if user is not None:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # KILL, STOP and the numbers that the C library keeps to itself
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of the user, which would clear it
    if os.getppid() != spec["parent"]:
        raise OSError(0, "the agent ended meanwhile")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.get("processes"):
        # The kernel counts all of the user's processes, so what it has already is added.
        _limit(resource.RLIMIT_NPROC, tasks_of(os.getuid()) + limits["processes"])
    for name, number in _PLAIN.items():  # memory last: this interpreter may have more than the unit is to have
        if limits.get(name):
            _limit(number, limits[name])
    os.execvp(command[0], command)


def _limit(number: int, wanted: int) -> None:
    most = resource.getrlimit(number)[1]
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(number, (wanted, wanted))


def tasks_of(uid: int) -> int:
    """How many processes and threads a user has now."""
    count = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue  # it ended while we looked
    return count


if __name__ == "__main__":
    try:
        become(json.loads(sys.argv[1]), sys.argv[2:])
    except (OSError, ValueError, MemoryError) as error:
        said = getattr(error, "strerror", None) or error
        sys.stderr.write(f"cannot start {sys.argv[2]}: {said}\n")
        sys.stderr.flush()
        os._exit(127)
