"""From the request of an ACS to the transfer that will be done, or the fault that refuses it. Nothing is stored here.

Source: TR-069a6 A.3.2.8 (Download), A.4.1.5 (Upload), A.4.1.8 (ScheduleDownload); the fault for a missing row of an Upload is (unverified).
"""

from collections.abc import Collection

from homeport.codec.messages import Download, ScheduleDownload, Upload
from homeport.cpe.transfers.file_types import FileTypes
from homeport.cpe.transfers.records import Kind, Transfer
from homeport.cpe.transfers.windows import check_windows
from homeport.errors import Fault
from homeport.terms import FaultCode
from homeport.transport.files import parse_file_url

LONGEST_URL = 256
LONGEST_KEY = 32


def download_of(
    request: Download, *, types: FileTypes, schemes: Collection[str], largest: int, accepted: float | None
) -> Transfer:
    """The transfer that a Download asks for. Raises Fault 9003, 9004 or 9013."""
    _check_download(request, types, schemes, largest)
    if request.delay_seconds < 0:
        raise _invalid(f"DelaySeconds {request.delay_seconds} is negative")
    return Transfer(
        number=0,
        kind=Kind.DOWNLOAD,
        command_key=request.command_key,
        file_type=request.file_type,
        url=request.url,
        username=request.username,
        password=request.password,
        file_size=request.file_size,
        target_file_name=request.target_file_name,
        delay=request.delay_seconds,
        accepted=accepted,
    )


def schedule_download_of(
    request: ScheduleDownload,
    *,
    types: FileTypes,
    schemes: Collection[str],
    largest: int,
    modes: Collection[str],
    accepted: float | None,
) -> Transfer:
    """The transfer that a ScheduleDownload asks for. Raises Fault 9003, 9004 or 9013."""
    _check_download(request, types, schemes, largest)
    check_windows(request.time_window_list, modes)
    return Transfer(
        number=0,
        kind=Kind.SCHEDULE_DOWNLOAD,
        command_key=request.command_key,
        file_type=request.file_type,
        url=request.url,
        username=request.username,
        password=request.password,
        file_size=request.file_size,
        target_file_name=request.target_file_name,
        windows=tuple(request.time_window_list),
        accepted=accepted,
    )


def upload_of(request: Upload, *, types: FileTypes, schemes: Collection[str], accepted: float | None) -> Transfer:
    """The transfer that an Upload asks for. Raises Fault 9003 or 9013."""
    _check_key(request.command_key)
    transfer = Transfer(
        number=0,
        kind=Kind.UPLOAD,
        command_key=request.command_key,
        file_type=request.file_type,
        url=request.url,
        username=request.username,
        password=request.password,
        delay=request.delay_seconds,
        accepted=accepted,
    )
    exporter = types.exporter(request.file_type)
    if exporter is None:
        raise _invalid(_no_type(request.file_type, types.uploads))
    if not exporter.has(transfer.instance):
        raise _invalid(f"there is no file for {request.file_type!r} on this device")
    check_url(request.url, schemes)
    if request.delay_seconds < 0:
        raise _invalid(f"DelaySeconds {request.delay_seconds} is negative")
    return transfer


def check_url(url: str, schemes: Collection[str]) -> None:
    """Raises Fault 9003 for a URL that is none, 9013 for a protocol that the device does not speak."""
    if len(url) > LONGEST_URL:
        raise _invalid(f"the URL has {len(url)} characters, at most {LONGEST_URL} are allowed")
    try:
        place = parse_file_url(url)
    except ValueError as e:
        raise _invalid(str(e)) from e
    if place.scheme not in schemes:
        raise Fault(
            FaultCode.UNSUPPORTED_PROTOCOL, f"{place.scheme} is not supported here, only {', '.join(sorted(schemes))}"
        )


def _check_download(
    request: Download | ScheduleDownload, types: FileTypes, schemes: Collection[str], largest: int
) -> None:
    _check_key(request.command_key)
    if types.installer(request.file_type) is None:
        raise _invalid(_no_type(request.file_type, types.downloads))
    check_url(request.url, schemes)
    if request.file_size < 0:
        raise _invalid(f"FileSize {request.file_size} is negative")
    if request.file_size > largest:
        raise Fault(
            FaultCode.RESOURCES_EXCEEDED, f"the file has {request.file_size} bytes; there is room for {largest} here"
        )


def _check_key(key: str) -> None:
    if len(key) > LONGEST_KEY:
        raise _invalid(f"CommandKey has {len(key)} characters, at most {LONGEST_KEY} are allowed")


def _no_type(file_type: str, known: tuple[str, ...]) -> str:
    return f"the file type {file_type!r} is not supported; supported are {', '.join(known) or 'none'}"


def _invalid(text: str) -> Fault:
    return Fault(FaultCode.INVALID_ARGUMENTS, text)
