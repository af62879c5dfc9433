"""Transfer bodies: `fetch` brings a file from a URL to disk, `put` takes one there. http, https, ftp, sftp, tftp.

Each failure is a `FileTransferError` whose trouble says which of CWMP's fault codes it is (`fault_code`).
"""

from homeport.transport.files.result import (
    DEFAULT_LIMITS,
    DEFAULT_OPTIONS,
    FAULTS,
    NO_CREDENTIALS,
    Credentials,
    Fetched,
    FileLimits,
    FileOptions,
    FileTransferError,
    Place,
    Progress,
    Sent,
    Trouble,
    fault_code,
    parse_file_url,
    shown_url,
)
from homeport.transport.files.transfer import fetch, put, supported_schemes

__all__ = [
    "fetch",
    "put",
    "supported_schemes",
    "Credentials",
    "NO_CREDENTIALS",
    "FileLimits",
    "DEFAULT_LIMITS",
    "FileOptions",
    "DEFAULT_OPTIONS",
    "Fetched",
    "Sent",
    "Place",
    "parse_file_url",
    "shown_url",
    "Progress",
    "FileTransferError",
    "Trouble",
    "FAULTS",
    "fault_code",
]
