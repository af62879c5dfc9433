"""The settings of `homeport acs serve`: flag, environment, configuration key and docs row all come from this class."""

import math
import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from homeport.errors import ConfigError
from homeport.settings import describe, setting

ANNOUNCED = ("cwmp_listen", "cwmp_tls_listen", "file_listen", "http_listen")
"""Listeners that can stand behind load balancers with the PROXY protocol."""

MAY_BE_ZERO: Final = frozenset(
    {"file_rate", "file_total_rate", "write_behind", "trace_limit", "max_unapproved_devices", "cpe_login_failures"}
    | {"keep_sessions_days", "keep_tasks_days", "keep_audit_days", "clock_doubt"}
)
"""Numbers that mean something where they are 0; all others must be more."""

LONGEST: Final = {"seconds": 3_153_600_000, "hours": 876_000, "days": 36_500}
"""A hundred years in each unit of time: beyond, dates cannot be written."""

_PUBLIC_HOST: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
)


@dataclass(frozen=True, slots=True)
class AcsSettings:
    """Everything an operator can choose. Defaults suit one machine with a few thousand devices."""

    data_dir: Path = setting(Path("acs-data"), "Directory that holds everything of this ACS: database, files, tokens.")
    database: str = setting(
        "",
        "Database: empty for SQLite in the data directory, sqlite:///PATH, postgresql://USER:PASSWORD@HOST/NAME, or memory:. "
        "Give one with a password in the environment or the file: others can see the command line.",
        secret=True,
    )
    cwmp_listen: str = setting("0.0.0.0:7547", "Address and port for devices (CWMP); port 0 takes a free one.")
    http_listen: str = setting("127.0.0.1:8080", "Address and port of the REST API, which the command line uses.")
    file_listen: str = setting("0.0.0.0:7567", "Address and port from which devices fetch files.")
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses or networks (CIDR) of load balancers in front: what they say in X-Forwarded-For and X-Forwarded-Proto is believed.",
    )
    proxy_protocol: tuple[str, ...] = setting(
        (),
        "Listeners, by their settings (cwmp_listen, cwmp_tls_listen, file_listen, http_listen), where trusted_proxies begin every"
        " connection with a PROXY protocol header (v1 or v2), before TLS; nobody else may send one.",
    )
    public_host: str = setting(
        "", "HOST or HOST:PORT in the file URLs that devices get; empty: the address from which the ACS reaches them."
    )
    file_size_limit: int = setting(1_073_741_824, "Largest file that an operator may store.", unit="bytes")
    upload_size_limit: int = setting(67_108_864, "Largest file that a device may send.", unit="bytes")
    file_url_lifetime: float = setting(
        86_400.0, "How long the URL of a transfer is good, counted from when the transfer may begin.", unit="seconds"
    )
    file_max_transfers: int = setting(200, "Transfers at once; further ones are told to come back later (503).")
    file_max_per_address: int = setting(
        50, "Transfers at once with one address, which many devices behind a NAT share."
    )
    file_rate: int = setting(0, "Most bytes per second of one transfer; 0: no limit.", unit="bytes per second")
    file_total_rate: int = setting(
        0, "Most bytes per second of all transfers together; 0: no limit.", unit="bytes per second"
    )
    file_stall: float = setting(120.0, "Time without any progress after which a transfer is cut.", unit="seconds")
    tftp_listen: str = setting(
        "", "Address and port of a TFTP server that gives the stored files, without any authentication; empty: none."
    )
    cpe_auth: str = setting(
        "quarantine",
        "How devices are admitted: open (laboratory), quarantine (unknown ones wait for approval), required (credentials).",
        choices=("open", "quarantine", "required"),
    )
    cpe_username: str = setting(
        "", "Shared user name that devices log in with before they have their own; `homeport group` makes more of them."
    )
    cpe_password: str = setting("", "Password to the shared user name.", secret=True)
    cpe_login_failures: int = setting(
        20,
        "Wrong logins of devices in a minute with one user name from one address (of IPv6 its /64), or ten times as many from one address"
        " with any names or with one name from any addresses, after which no more than so many in a minute are looked at, each in its turn;"
        " others are told to come back later (503). An approved device at the address where it was last has turns of its own. 0: no brake.",
    )
    basic_over_http: bool = setting(False, "Accept and offer Basic authentication without TLS (laboratory only).")
    cwmp_tls_listen: str = setting(
        "", "Address and port where devices find https beside the plain listener, such as 0.0.0.0:7548; empty: none."
    )
    tls_certificate: Path | None = setting(
        None,
        "Certificate chain (PEM) of https; without cwmp_tls_listen the CWMP listener itself speaks https. None: for"
        " cwmp_tls_listen one for the laboratory is made at the first start.",
    )
    tls_key: Path | None = setting(None, "Private key (PEM) to tls_certificate.")
    cpe_login: str = setting(
        "keep",
        "provision: a device that logs in with the shared user or a group's is given a login of its own, after which the shared one no"
        " longer opens for it; keep: the devices' logins are left as they are.",
        choices=("keep", "provision"),
    )
    tls_client_ca: Path | None = setting(
        None, "Certificates (PEM) of the authorities whose client certificates log devices in."
    )
    tls_client_identity: str = setting(
        "device",
        "device: a client certificate logs in the device that its common name names (OUI-SerialNumber or the device's id);"
        " any: every certificate of the authority is as good as a shared password.",
        choices=("device", "any"),
    )
    allow_remote_http: bool = setting(False, "Let the REST API listen on other addresses than loopback without TLS.")
    workers: int = setting(
        1,
        "Number of processes that serve devices and operators; more than 1 needs PostgreSQL. All limits hold for the machine: the workers"
        " share them; several machines do not, each has its own.",
    )

    body_limit: int = setting(1_048_576, "Largest body that is read outside an authenticated session.", unit="bytes")
    session_body_limit: int = setting(
        33_554_432,
        "Largest body that is read in an admitted device's session: a list of parameters; of other messages 4 MB are read. Eight of this"
        " size are in memory at once, four of one address; further ones are told to come back (503). Over a new connection the device is"
        " known by its cookie or by the ID of our request in its answer; one that gives back neither is told 413.",
        unit="bytes",
    )
    read_timeout: float = setting(30.0, "Time within which a request must have arrived in full.", unit="seconds")
    keep_alive: float = setting(75.0, "Time after which an idle connection is closed.", unit="seconds")
    session_timeout: float = setting(60.0, "Time a device may take between two messages of a session.", unit="seconds")
    max_sessions: int = setting(
        5_000,
        "Sessions open at once; further devices are told to come back later (503). Those that are not admitted have at most half of them.",
    )
    max_unapproved_devices: int = setting(
        10_000,
        "Devices that wait in quarantine or were refused and are kept: while there are so many, a device that is not known and has no"
        " login is told to come back later (503) and is not stored; 0: no limit. One address (of IPv6 a /64, and a /48) has at most as many"
        " of these places as are free, half of them if it is alone. Has no meaning where cpe_auth is open or required.",
    )
    max_connections: int = setting(10_000, "Connections open at once on the CWMP port.")

    xml_prolog: bool = setting(False, "Begin messages with an XML declaration; some device stacks fail on it.")
    discover: str = setting(
        "bootstrap",
        "When the ACS reads a device's whole tree by itself: bootstrap (after 0 BOOTSTRAP, and when a person approves a device that has"
        " come without), first-contact (also of a device that is new here, whatever its event: one that another ACS has managed, or all of"
        " them after the database was lost) or never.",
        choices=("bootstrap", "first-contact", "never"),
    )
    connection_request_credentials: str = setting(
        "provision",
        "provision: after 0 BOOTSTRAP, or when `discover` says, give each device its own connection request password; keep: leave the"
        " device's.",
        choices=("provision", "keep"),
    )
    connection_request_users: tuple[str, ...] = setting(
        (), "Further user:password pairs to try in connection requests, in order.", secret=True
    )
    connection_request_networks: tuple[str, ...] = setting(
        (), "Networks (CIDR) that connection requests may go to beside the device's own address."
    )
    connection_request_timeout: float = setting(10.0, "Time for one connection request.", unit="seconds")
    stun_listen: str = setting(
        "", "Address and port of the STUN server and of UDP connection requests, such as 0.0.0.0:3478; empty: none."
    )
    xmpp_jid: str = setting(
        "",
        "The account of the ACS for connection requests by XMPP, such as acs@xmpp.example.org; empty: none. "
        "Needs homeport[xmpp].",
    )
    xmpp_password: str = setting("", "Password to xmpp_jid.", secret=True)
    xmpp_server: str = setting(
        "", "HOST:PORT of the XMPP server; empty: what DNS (SRV) names for the domain of xmpp_jid."
    )
    xmpp_tls: bool = setting(True, "Speak TLS with the XMPP server; without it only SCRAM logs in.")
    xmpp_ca: Path | None = setting(
        None, "Certificates (PEM) that the XMPP server's must lead to; default the system's."
    )
    xmpp_domains: tuple[str, ...] = setting(
        (), "Domains of devices' Jabber ids that may be called beside that of xmpp_jid."
    )
    lightweight_listen: str = setting(
        "",
        "Address and port for lightweight notifications by UDP, such as 0.0.0.0:7547, from devices with the login "
        "cpe_username; empty: none.",
    )
    restart_timeout: float = setting(
        900.0,
        "Time within which a device that has accepted a Reboot or FactoryReset must tell of its restart; then the task has failed.",
        unit="seconds",
    )
    transfer_timeout: float = setting(
        604_800.0,
        "Time within which a device that has accepted a transfer or a change of its software modules must tell of the end, counted"
        " from when it may begin; then the task has failed.",
        unit="seconds",
    )
    unknown_timeout: float = setting(
        604_800.0,
        "Time within which a device must come again whose session ended before its answer; then the task has failed, and whether the"
        " device has done it is not known. A task that expires ends at its expiry, but not within restart_timeout.",
        unit="seconds",
    )
    task_attempts: int = setting(3, "How often a task is sent whose session died before the answer.")

    write_behind: float = setting(
        1.0, "How long facts that devices repeat anyway may wait for the disk.", unit="seconds"
    )
    keep_sessions_days: float = setting(30.0, "How long session histories and events are kept.", unit="days")
    keep_tasks_days: float = setting(90.0, "How long finished tasks are kept.", unit="days")
    keep_audit_days: float = setting(365.0, "How long the audit log is kept.", unit="days")
    clock_doubt: float = setting(
        86_400.0,
        "Time for which a jump of this machine's clock by more than a day is not believed: no task ends and nothing is deleted by it,"
        " and what has expired by it is not sent; after a standstill of more than a day it is an hour at most; 0 believes it at once.",
        unit="seconds",
    )
    webhook_networks: tuple[str, ...] = setting(
        (),
        "Networks (CIDR) that webhooks may be sent to; empty: all but link-local ones (169.254.0.0/16, fe80::/10), where clouds"
        " keep the secrets of their machines.",
    )
    webhook_keep_hours: float = setting(
        24.0, "How long an event waits for a webhook that does not answer, before it is dropped.", unit="hours"
    )
    webhook_keep_events: int = setting(
        250_000,
        "How many events wait for one webhook that does not answer, or not fast enough; the oldest are dropped. Each takes about half a"
        " kilobyte in the database.",
    )
    login_hours: float = setting(12.0, "How long a login of a user lasts.", unit="hours")
    log_format: str = setting(
        "text",
        "How the log is written: text (name=value) or json, one event a line.",
        choices=("text", "json"),
    )
    log_file: Path | None = setting(
        None,
        "File for the log instead of standard error; one that logrotate has renamed is noticed and opened anew, by all"
        " workers.",
    )
    log_level: str = setting("info", "The least that is logged.", choices=("debug", "info", "warning", "error"))
    trace_limit: int = setting(65_536, "How much of one message is kept in a session's history.", unit="bytes")

    def check(self) -> None:
        """Raise ConfigError for settings that do not go together."""
        if self.workers > 1 and not self.database.startswith(("postgresql://", "postgres://")):
            where = "memory:" if self.database == "memory:" else "SQLite"
            raise ConfigError(
                f"workers is {self.workers}, but {where} serves one process, which keeps in its own memory what is not on the disk"
                " yet; give database a postgresql:// URL, or leave workers at 1"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ConfigError("tls_certificate and tls_key belong together; give both or neither")
        if bool(self.cpe_username) != bool(self.cpe_password):
            raise ConfigError("cpe_username and cpe_password belong together; give both or neither")
        host, _ = host_port(self.http_listen, "http_listen")
        if not self.allow_remote_http and host not in {"127.0.0.1", "::1", "localhost"}:
            raise ConfigError(
                f"http_listen is {self.http_listen}, but the REST API has no TLS of its own: listen on 127.0.0.1 behind"
                " a TLS proxy, or set allow_remote_http when the network is trusted"
            )
        for name in ("trusted_proxies", "connection_request_networks", "webhook_networks"):
            for text in getattr(self, name):
                try:
                    ip_network(text, strict=False)
                except ValueError as e:
                    raise ConfigError(
                        f"{name} holds {text!r}, which is no address or network: {e}; write 192.0.2.7 or 192.0.2.0/24"
                    ) from e
        for name in self.proxy_protocol:
            if name not in ANNOUNCED:
                raise ConfigError(f"proxy_protocol holds {name!r}; it lists settings among {', '.join(ANNOUNCED)}")
            if name == "cwmp_tls_listen" and not self.cwmp_tls_listen:
                raise ConfigError(
                    "proxy_protocol holds cwmp_tls_listen, which is not set; give it, or take it out there"
                )
        if self.proxy_protocol and not self.trusted_proxies:
            raise ConfigError(
                "proxy_protocol needs trusted_proxies, the addresses of the load balancers: from others a header is refused"
            )
        for pair in self.connection_request_users:
            if ":" not in pair:
                raise ConfigError("connection_request_users holds an entry without a colon; write user:password")
        if self.lightweight_listen:
            host_port(self.lightweight_listen, "lightweight_listen")
            if not self.cpe_username:
                raise ConfigError(
                    "lightweight_listen needs cpe_username and cpe_password: notifications are signed with the shared password,"
                    " because the ACS keeps only hashes of the devices' own"
                )
        if self.xmpp_jid:
            username, at, domain = self.xmpp_jid.partition("/")[0].partition("@")
            if not (username and at and domain):
                raise ConfigError(f"xmpp_jid is {self.xmpp_jid!r}; it reads like acs@xmpp.example.org")
            if not self.xmpp_password:
                raise ConfigError("xmpp_jid needs xmpp_password; give it in the environment or the configuration file")
            if self.xmpp_server:
                host_port(self.xmpp_server, "xmpp_server")
                if self.xmpp_server.startswith(":"):
                    raise ConfigError(f"xmpp_server is {self.xmpp_server!r}, without a host; write HOST:PORT")
        elif self.xmpp_password or self.xmpp_server:
            raise ConfigError("xmpp_password and xmpp_server need xmpp_jid, the account that they belong to")
        host_port(self.cwmp_listen, "cwmp_listen")
        if self.cwmp_tls_listen:
            host_port(self.cwmp_tls_listen, "cwmp_tls_listen")
        if self.tls_client_ca and not (self.tls_certificate or self.cwmp_tls_listen):
            raise ConfigError("tls_client_ca needs https: give cwmp_tls_listen, or tls_certificate and tls_key")
        host_port(self.file_listen, "file_listen")
        if self.stun_listen:
            host_port(self.stun_listen, "stun_listen")
        if self.tftp_listen:
            host_port(self.tftp_listen, "tftp_listen")
        public = _PUBLIC_HOST.fullmatch(self.public_host)
        if self.public_host and (public is None or not 0 < int((public[2] or ":1")[1:]) < 65_536):
            raise ConfigError(
                f"public_host is {self.public_host!r}; write HOST or HOST:PORT, such as files.example.net:7567, without http://"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Raise ConfigError for a number with which nothing would work, or for ever."""
        for row in describe(AcsSettings):
            if row.type not in (int, float):
                continue
            value, zero = getattr(self, row.name), row.name in MAY_BE_ZERO
            longest = LONGEST.get(row.unit)
            if math.isinf(value) or (longest is not None and value > longest):
                most = f"; at most {longest} {row.unit} are allowed, a hundred years" if longest is not None else ""
                raise ConfigError(f"{row.name} is {value:g}{most or '; write a number'}")
            if not (value >= 0 if zero else value > 0):
                least = "0 or more" if zero else "at least 1" if row.type is int else "more than 0"
                raise ConfigError(f"{row.name} is {value}; it must be {least}")


def host_port(text: str, name: str) -> tuple[str, int]:
    """The host and port of `127.0.0.1:7547`, `[::1]:7547` or `:7547`. Raises ConfigError that names the setting."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{name} is {text!r}; expected HOST:PORT such as 0.0.0.0:7547")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigError(f"{name} is {text!r}; write an IPv6 address in brackets, such as [2001:db8::1]:7547")
    return host.strip("[]") or "0.0.0.0", int(port)
