"""Which deployment units an operation is about, and whether it may be done: the fault table of ChangeDUState. Pure.

| asked | refused with |
|---|---|
| a UUID that is none | 9022 |
| a URL that is none, or missing in an Install | 9003; a protocol that is not spoken 9013 |
| an environment that is not there, that is disabled | 9023, 9024 |
| the same UUID and version in the same environment once more | 9026 by an Install, 9032 by an Update |
| an older version by an Update | 9030 |
| a UUID, or a URL in an Update, that nothing has | 9028 |
| an Update without Version where several versions are installed | 9031 |
| a unit that is not Installed | 9029 |

Source: cwmp-1-2.xsd; TR-069a6 A.4.1.10 (the order of the checks is ours).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from homeport.cpe.modules.interface import PackageSpec, Requirement
from homeport.cpe.modules.manifest import UUID
from homeport.cpe.modules.records import DeploymentUnit, DuStatus, Kind, Operation
from homeport.errors import Fault
from homeport.terms import FaultCode
from homeport.transport.files import Trouble, parse_file_url, shown_url

LONGEST_URL: Final = 1024
"""Characters (cwmp-1-2.xsd)."""

FAULTS: Final[dict[Trouble, FaultCode]] = {
    Trouble.SCHEME: FaultCode.UNSUPPORTED_PROTOCOL,
    Trouble.UNREACHABLE: FaultCode.FILE_SERVER_UNREACHABLE,
    Trouble.CREDENTIALS: FaultCode.FILE_SERVER_AUTHENTICATION,
    Trouble.NOT_ACCESSIBLE: FaultCode.FILE_INACCESSIBLE,
    Trouble.INCOMPLETE: FaultCode.DOWNLOAD_INCOMPLETE,
    Trouble.CORRUPT: FaultCode.FILE_CORRUPTED,
    Trouble.UNTRUSTED: FaultCode.FILE_CORRUPTED,  # 9019 is not among the codes of a DUStateChangeComplete
    Trouble.SPACE: FaultCode.SYSTEM_RESOURCES_EXCEEDED,
    Trouble.SERVER: FaultCode.FILE_INACCESSIBLE,  # nor is 9010
    Trouble.LOCAL: FaultCode.REQUEST_DENIED,  # nor 9002
}
"""What a failed download becomes in a result."""

ALLOWED: Final = frozenset({9001, 9003, 9012, 9013, *range(9015, 9019), *range(9022, 9033)})
"""Codes that a result may carry (cwmp-1-2.xsd DeploymentUnitCPEFaultCodeType)."""


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """An environment as the operations see it. path: of its row, with the dot at the end. works: it could be opened."""

    name: str
    path: str
    enabled: bool
    works: bool = True


def listed(code: FaultCode) -> FaultCode:
    """The code as a result may carry it; 9001 stands for all others."""
    return code if int(code) in ALLOWED else FaultCode.REQUEST_DENIED


def derived_uuid(vendor: str, name: str) -> str:
    """The UUID of a deployment unit that came without one: version 3 of RFC 4122, of its vendor and name (TR-069a6 Annex H).

    The name space and how the two are joined are (unverified).
    """
    import uuid as uuids  # only an Install without UUID needs it

    return str(uuids.uuid3(uuids.NAMESPACE_URL, f"{vendor}.{name}"))


def check_request(operation: Operation, schemes: Collection[str]) -> None:
    """Raises Fault 9003, 9013 or 9022 for what cannot be done whatever is installed."""
    if operation.uuid and not UUID.fullmatch(operation.uuid):
        raise Fault(FaultCode.INVALID_UUID, f"{operation.uuid[:60]!r} is not a UUID")
    if operation.kind is Kind.UNINSTALL and not operation.uuid:
        raise Fault(FaultCode.INVALID_UUID, "an Uninstall names the UUID of what is to be removed")
    if operation.kind is Kind.INSTALL or operation.url:
        check_url(operation.url, schemes)


def check_url(url: str, schemes: Collection[str]) -> None:
    """Raises Fault 9003 or 9013. `file:///…` is only allowed where the schemes say so."""
    if not url or len(url) > LONGEST_URL:
        raise Fault(FaultCode.INVALID_ARGUMENTS, f"the URL has {len(url)} characters, 1 to {LONGEST_URL} are allowed")
    if url.startswith("file:///"):
        scheme = "file"
    else:
        try:
            scheme = parse_file_url(url).scheme
        except ValueError as e:
            raise Fault(FaultCode.INVALID_ARGUMENTS, str(e)) from e
    if scheme not in schemes:
        raise Fault(
            FaultCode.UNSUPPORTED_PROTOCOL, f"{scheme} is not supported here, only {', '.join(sorted(schemes))}"
        )


def environment_of(reference: str, environments: Sequence[EnvironmentState], root: str) -> EnvironmentState | None:
    """The environment that a reference means, None for "". Raises Fault 9023, 9024. root: of the data model.

    The schema's own examples begin with a dot, which stands for the root.
    """
    if not reference:
        return None
    path = reference.removesuffix(".") + "."
    if path.startswith("."):
        path = root + path[1:]
    found = next((e for e in environments if e.path == path), None)
    if found is None:
        raise Fault(FaultCode.UNKNOWN_EXECUTION_ENVIRONMENT, f"there is no execution environment {reference}")
    return usable(found)


def usable(environment: EnvironmentState) -> EnvironmentState:
    """The environment. Raises Fault 9024 where it is disabled, or does not work."""
    if not environment.enabled:
        raise Fault(FaultCode.DISABLED_EXECUTION_ENVIRONMENT, f"the environment {environment.name} is disabled")
    if not environment.works:
        raise Fault(FaultCode.DISABLED_EXECUTION_ENVIRONMENT, f"the environment {environment.name} does not work now")
    return environment


def updated_by(operation: Operation, units: Iterable[DeploymentUnit]) -> list[DeploymentUnit]:
    """The units that an Update is about. Raises Fault 9028, 9031; 9029 where a single one is not Installed."""
    there = [u for u in units if not u.retired and u.spec is not None]
    if not operation.uuid and not operation.url:
        return [u for u in there if u.status is DuStatus.INSTALLED and operation.version in ("", u.version)]
    if operation.uuid:
        found = [u for u in there if u.uuid.lower() == operation.uuid.lower()]
        what = f"UUID {operation.uuid}"
    else:
        found, what = [u for u in there if u.url == operation.url], f"URL {shown_url(operation.url)[:100]}"
    if operation.version:
        found = [u for u in found if u.version == operation.version]
        what += f" and version {operation.version}"
    if not found:
        raise Fault(FaultCode.UNKNOWN_DEPLOYMENT_UNIT, f"no deployment unit has the {what}")
    if not operation.version and len({u.version for u in found}) > 1:
        versions = ", ".join(sorted({u.version for u in found}))
        raise Fault(FaultCode.VERSION_NOT_SPECIFIED, f"several versions are installed ({versions}); name one")
    return _all_installed(found)


def removed_by(
    operation: Operation, environment: EnvironmentState | None, units: Iterable[DeploymentUnit]
) -> list[DeploymentUnit]:
    """The units that an Uninstall is about. Raises Fault 9028, 9029."""
    found = [
        u
        for u in units
        if not u.retired
        and u.spec is not None
        and u.uuid.lower() == operation.uuid.lower()
        and operation.version in ("", u.version)
        and (environment is None or u.environment == environment.name)
    ]
    if not found:
        version = f" in version {operation.version}" if operation.version else ""
        where = f" in {environment.name}" if environment is not None else ""
        raise Fault(
            FaultCode.UNKNOWN_DEPLOYMENT_UNIT, f"no deployment unit {operation.uuid}{version} is installed{where}"
        )
    return _all_installed(found)


def check_new(uuid: str, version: str, environment: str, units: Iterable[DeploymentUnit]) -> None:
    """Raises Fault 9026 where that very unit is there already."""
    if any(_same(u, uuid, version, environment) for u in units):
        raise Fault(FaultCode.DUPLICATE_DEPLOYMENT_UNIT, f"{uuid} in version {version} is installed there already")


def check_update(unit: DeploymentUnit, spec: PackageSpec, units: Iterable[DeploymentUnit]) -> None:
    """Raises Fault 9018 for another unit's package, 9030, 9032."""
    assert unit.spec is not None
    if (spec.vendor, spec.name) != (unit.spec.vendor, unit.spec.name) or (spec.uuid and spec.uuid != unit.uuid.lower()):
        raise Fault(
            FaultCode.FILE_CORRUPTED,
            f"the package is {spec.name} of {spec.vendor or 'nobody'}, not {unit.spec.name} of {unit.spec.vendor or 'nobody'}",
        )
    if spec.version == unit.version or any(
        _same(u, unit.uuid, spec.version, unit.environment) for u in units if u.number != unit.number
    ):
        raise Fault(FaultCode.VERSION_EXISTS, f"version {spec.version} is installed already")
    if older(spec.version, unit.version):
        raise Fault(
            FaultCode.DOWNGRADE_NOT_PERMITTED, f"{spec.version} is older than {unit.version}, which is installed"
        )


def older(version: str, than: str) -> bool:
    """Whether a version comes before another: numbers by value, words by the alphabet, `1.0-rc1` before `1.0`."""
    return _order(version) < _order(than)


def unresolved(spec: PackageSpec, environment: str, units: Iterable[DeploymentUnit]) -> tuple[Requirement, ...]:
    """What a package needs and its environment does not have."""
    there = [
        u.spec
        for u in units
        if u.spec is not None and not u.retired and u.environment == environment and u.status is not DuStatus.INSTALLING
    ]
    return tuple(r for r in spec.requires if not any(_meets(s, r) for s in there))


def resolved(unit: DeploymentUnit, units: Mapping[int, DeploymentUnit]) -> bool:
    """DeploymentUnit.{i}.Resolved."""
    return unit.spec is not None and not unresolved(unit.spec, unit.environment, units.values())


def _meets(spec: PackageSpec, wanted: Requirement) -> bool:
    return (
        spec.name == wanted.name
        and wanted.vendor in ("", spec.vendor)
        and not (wanted.version and older(spec.version, wanted.version))
    )


def _same(unit: DeploymentUnit, uuid: str, version: str, environment: str) -> bool:
    return (
        not unit.retired
        and unit.status is not DuStatus.INSTALLING
        and (unit.uuid.lower(), unit.version, unit.environment) == (uuid.lower(), version, environment)
    )


def _all_installed(found: list[DeploymentUnit]) -> list[DeploymentUnit]:
    for unit in found:
        if unit.status is not DuStatus.INSTALLED:
            raise Fault(FaultCode.INVALID_DEPLOYMENT_UNIT_STATE, f"{unit.uuid} is {unit.status.value}, not Installed")
    return found


_PART: Final = re.compile(r"(\d+)|([A-Za-z]+)")


def _order(version: str) -> tuple[tuple[int, ...], bool, tuple[tuple[int, str], ...]]:
    """The numbers up to the first word, without zeros at the end; whether that is all; the rest."""
    numbers: list[int] = []
    rest: list[tuple[int, str]] = []
    for digits, word in _PART.findall(version.removeprefix("v")):
        if digits and not rest:
            numbers.append(int(digits))
        else:
            rest.append((int(digits), "") if digits else (-1, word.lower()))
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 1.0 and 1 are the same
    return tuple(numbers), not rest, tuple(rest)
