"""The built-in execution environment: packages are tar files with a manifest, units are child processes with limits.

    DIRECTORY/DUID/1/…         the content of its first generation; an update makes the next one beside it
    DIRECTORY/DUID/data/       what its units keep; stays over updates
    DIRECTORY/DUID/log/        what they print
    DIRECTORY/run/DUID.UNIT    which process a unit is

A unit runs in its content's directory with an environment of its own, as the user of the setting or, without one, as the agent's.
"""

import os
import shutil
import stat
import time
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from homeport._version import __version__
from homeport.cpe.modules.interface import EnvironmentFacts, Limits, PackageSpec, Place, Running, Setup, Space, UnitSpec
from homeport.cpe.modules.manifest import FORMAT, inside
from homeport.cpe.modules.processes import clean_up, launch, user_of
from homeport.cpe.modules.unit_log import UnitLog
from homeport.errors import ConfigError, Fault
from homeport.terms import FaultCode

NAME: Final = "native"
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
RESERVE: Final = 1 << 20
"""Bytes of the disk that no package may take: the agent must be able to write down what it did."""

MOST_CONFIGURATION: Final = 1 << 20
"""Bytes of a configuration file that are shown."""

SIZE_KEPT: Final = 5.0
"""Seconds for which the disk space that is in use is not counted again."""


class NativeEnvironment:
    """Fulfils `Environment`."""

    def __init__(self, setup: Setup) -> None:
        """Raises ConfigError for a user that does not exist or that the agent may not become."""
        self._setup = setup
        self._directory = setup.directory.absolute()
        self._user: tuple[int, int] | None = None
        if setup.user:
            try:
                self._user = user_of(setup.user)
            except KeyError:
                raise ConfigError(
                    f"module_user {setup.user!r} does not exist; make it, or leave the setting out"
                ) from None
            if os.geteuid() not in (0, self._user[0]):
                raise ConfigError(f"only root can run modules as {setup.user}; run the agent as root or as that user")
            if self._user[0] == os.geteuid():
                self._user = None
        self._used = (0.0, 0)
        self.survivors = 0
        """Units that a crash of the agent had left running, found at the start."""

    @property
    def facts(self) -> EnvironmentFacts:
        return EnvironmentFacts(NAME, f"child processes, {FORMAT}", "Homeport", __version__)

    # --- contents -----------------------------------------------------------------------------------------------------------------

    def open(self, keep: Mapping[str, Set[int]]) -> None:
        self._run.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.chmod(self._directory, 0o755)
        self.survivors = clean_up(self._run.iterdir())
        for place in self._directory.iterdir():
            if place == self._run:
                continue
            if place.name not in keep:
                _remove(place)
                continue
            for content in place.iterdir():
                if content.name.partition(".")[0].isdigit() and content.name not in {str(g) for g in keep[place.name]}:
                    _remove(content)

    def inspect(self, package: Path) -> PackageSpec:
        from homeport.cpe.modules.archive import read_manifest  # tarfile and gzip are for the rare moments of a change

        spec = read_manifest(package, max_size=self._setup.max_size)
        for unit in spec.units:
            # A sum that no device has is refused before anything is installed, not when the unit is started.
            if self._setup.memory and unit.limits.memory > self._setup.memory:
                raise Fault(
                    FaultCode.SYSTEM_RESOURCES_EXCEEDED,
                    f"unit {unit.name} asks for {unit.limits.memory} bytes of memory, {self._setup.memory} are allowed",
                )
        return spec

    def install(self, package: Path, spec: PackageSpec, place: Place) -> None:
        from homeport.cpe.modules.archive import unpack

        final = self._content(place)
        part = final.with_name(f"{final.name}.part")
        _remove(part)
        _remove(final)
        try:
            unpack(package, part, max_size=min(self._setup.max_size, self._room()))
            os.chmod(part, 0o755)
            self._check_commands(part, spec)
        except OSError as e:
            _remove(part)
            if e.errno in (28, 122):  # ENOSPC, EDQUOT
                raise Fault(FaultCode.SYSTEM_RESOURCES_EXCEEDED, "the disk is full") from e
            raise
        except BaseException:
            _remove(part)
            raise
        for name in ("data", "log"):
            self._own(final.parent / name)
        os.replace(part, final)
        _sync(final.parent)
        self._used = (0.0, 0)

    def remove(self, place: Place) -> None:
        _remove(self._content(place))
        self._used = (0.0, 0)

    def purge(self, duid: str) -> None:
        _remove(self._directory / duid)
        self._used = (0.0, 0)

    # --- running ------------------------------------------------------------------------------------------------------------------

    async def start(self, place: Place, spec: PackageSpec, unit: UnitSpec) -> Running:
        content = self._content(place)
        home = self._directory / place.duid
        command = list(unit.command)
        if "/" in command[0] and not command[0].startswith("/"):
            command[0] = str(content / command[0])
        elif shutil.which(command[0], path=PATH) is None:
            raise Fault(FaultCode.REQUEST_DENIED, f"cannot start {command[0]}: this device has no such program")
        environment = {
            "PATH": PATH,
            "HOME": str(home / "data"),
            "LANG": "C.UTF-8",
            "HOMEPORT_UNIT": unit.name,
            "HOMEPORT_PACKAGE": str(content),
            "HOMEPORT_DATA": str(home / "data"),
            **unit.environment,
        }
        return await launch(
            command,
            directory=content,
            environment=environment,
            limits=self._limits(unit.limits),
            log=UnitLog(self._log(place.duid, unit.name), self._setup.log_size),
            note=self._run / f"{place.duid}.{unit.name}",
            user=self._user,
        )

    def logs(self, duid: str, unit: str) -> tuple[Path, ...]:
        return UnitLog(self._log(duid, unit), self._setup.log_size).files

    def configuration(self, duid: str, name: str) -> Path | None:
        home = self._directory / duid
        copy = home / "log" / f"configuration-{name.replace('/', '-')}"
        try:
            content = read_inside(home / "data", inside(name, "configuration"), MOST_CONFIGURATION)
            copy.write_bytes(content)
        except OSError:
            return None  # it is not there (yet), or no plain file of the unit's own
        return copy

    def disk(self, duid: str) -> int:
        return size_of(self._directory / duid) // 1024

    def space(self) -> Space:
        used = self._size() // 1024
        allocated = self._setup.disk // 1024 or -1
        free = self._free() // 1024
        available = free if allocated < 0 else max(0, min(free, allocated - used))
        memory = self._setup.memory // 1024 or -1
        return Space(allocated, available, memory, min(_free_memory(), memory) if memory > 0 else _free_memory())

    # --- small things -----------------------------------------------------------------------------------------------------------------

    @property
    def _run(self) -> Path:
        return self._directory / "run"

    def _content(self, place: Place) -> Path:
        return self._directory / place.duid / str(place.generation)

    def _log(self, duid: str, unit: str) -> Path:
        return self._directory / duid / "log" / f"{unit}.log"

    def _limits(self, asked: Limits) -> Limits:
        return asked if asked.memory else msgspec.structs.replace(asked, memory=self._setup.memory)

    def _check_commands(self, content: Path, spec: PackageSpec) -> None:
        for unit in spec.units:
            if "/" in unit.command[0] and not unit.command[0].startswith("/"):
                program = content / unit.command[0]
                if not program.is_file() or not os.access(program, os.X_OK):
                    raise Fault(
                        FaultCode.FILE_CORRUPTED,
                        f"the package has no program {unit.command[0]} that can be run, which unit {unit.name} needs",
                    )

    def _own(self, directory: Path) -> None:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._user is not None and directory.name == "data":
            os.chown(directory, *self._user)

    def _room(self) -> int:
        """Bytes that a package may unpack to now. Raises Fault 9027 where there are none."""
        room = self._free() - RESERVE
        if self._setup.disk:
            room = min(room, self._setup.disk - self._size())
        if room <= 0:
            raise Fault(FaultCode.SYSTEM_RESOURCES_EXCEEDED, "there is no disk space left for modules")
        return room

    def _free(self) -> int:
        disk = os.statvfs(self._directory)
        return disk.f_bavail * disk.f_frsize

    def _size(self) -> int:
        """Bytes that all modules take."""
        now = time.monotonic()
        if not self._used[0] or now - self._used[0] > SIZE_KEPT:
            self._used = (now, size_of(self._directory))
        return self._used[1]


def read_inside(directory: Path, name: PurePosixPath, most: int) -> bytes:
    """The content of a plain file below a directory that a stranger owns: no link is followed, whatever is exchanged while we look.

    The file must belong to the directory's owner, so that a hard link to somebody else's is none. Raises OSError.
    """
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = os.fstat(here).st_uid
        for part in name.parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        file = os.open(name.parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)
    with open(file, "rb") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner:
            raise PermissionError(f"{name} is no plain file of the unit's own")
        return opened.read(most)


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory, as the file system counts them."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue  # it went while we looked
    return total


def _free_memory() -> int:
    """Kibibytes that the device has left; -1 where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1])
    except OSError:
        pass  # another system
    return -1


def _remove(place: Path) -> None:
    """Remove a file, link or tree; nothing there is no error. Raises OSError where something stays."""
    if not place.is_dir() or place.is_symlink():
        place.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(place)
    except PermissionError:
        # A unit may have taken the rights from a directory of its own.
        for here, _, _ in os.walk(place):
            os.chmod(here, 0o700)
            for entry in os.scandir(here):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
        shutil.rmtree(place)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
