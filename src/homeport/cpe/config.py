"""The agent's settings: each field is a flag of `homeport cpe run`, an environment variable, a configuration key and a docs row."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from homeport.errors import ConfigError
from homeport.settings import setting

PROGRAM: Final = "cpe"


def default_state_dir() -> Path:
    """Where an agent keeps its state unless told otherwise: under the user's state directory, /var/lib for root."""
    if os.geteuid() == 0:
        return Path("/var/lib/homeport/cpe")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "homeport" / "cpe"


@dataclass(frozen=True, slots=True)
class CpeSettings:
    """Settings of `homeport cpe run`.

    acs_url, username, password, the connection-request credentials and the periodic and retry defaults are written into the data
    model when they first appear or when they change; what the ACS sets afterwards counts until then.
    """

    profile: str = setting("dkt-797xx", "The device profile: which objects and parameters the device has")
    plugins: tuple[str, ...] = setting(
        (),
        "Device plug-ins: Python files, names of modules, or descriptions of provider processes (.toml); installed ones are found too",
    )
    mapper: tuple[Path, ...] = setting(
        (), "Mapper files (TOML): parameters of the device renamed, hidden, fixed, made read-only or translated"
    )
    acs_url: str = setting("", "URL of the ACS; without it DHCP option 43 or the profile's own URL counts")
    username: str = setting("", "User name that the device gives to the ACS; default OUI-ProductClass-SerialNumber")
    password: str = setting("", "Password that the device gives to the ACS", secret=True)
    state_dir: Path | None = setting(
        None, "Directory for everything that must survive a restart, for status and for the control socket"
    )
    serial: str = setting("", "Serial number; chosen once and kept where the profile has none")
    oui: str = setting("", "Manufacturer OUI, six hexadecimal digits; default the profile's")
    product_class: str = setting("", "Product class; default the profile's")
    manufacturer: str = setting("", "Manufacturer; default the profile's")

    connection_request_listen: str = setting("0.0.0.0", "Address on which connection requests are accepted")
    connection_request_port: int = setting(
        7547, "Port for connection requests; the next free one where it is taken, 0 for any"
    )
    connection_request_address: str = setting(
        "", "Host name or address in ConnectionRequestURL; default the address used towards the ACS"
    )
    connection_request_username: str = setting(
        "", "User name that a connection request must give, until the ACS sets another"
    )
    connection_request_password: str = setting(
        "", "Password that a connection request must give, until the ACS sets another", secret=True
    )
    # A person at an ACS types some commands a minute, each of which knocks; only genuine requests are counted.
    connection_request_limit: int = setting(60, "Connection requests that may start a session, per minute")

    connection_request_networks: tuple[str, ...] = setting(
        (), "Networks from which connection requests are heard, such as 192.0.2.0/24; default all"
    )
    udp_connection_request_port: int = setting(
        7547, "UDP port for connection requests, for devices that have them; 0 for any"
    )

    option43: str = setting("", "Content of DHCP option 43 in hexadecimal, as the DHCP client hands it over")
    option43_form: str = setting("standard", "How the codes of option 43 are read", choices=("standard", "vega"))

    dhcp_query: str = setting(
        "off",
        "Ask the DHCP servers for the ACS without a DHCP client: DHCPINFORM (ipv4), Information-request (ipv6)",
        choices=("off", "ipv4", "ipv6", "both"),
    )
    dhcp_interfaces: tuple[str, ...] = setting((), "Interfaces on which the agent asks by DHCP; default all")
    dhcp_request: tuple[str, ...] = setting(
        ("43", "125"), "DHCPv4 options that the agent asks for; one that is asked for alone beats the other"
    )
    dhcp_vendor_class: str = setting("dslforum.org", "Vendor class (option 60) with which the agent asks by DHCP")
    dhcp_rediscovery_after: int = setting(
        3, "Sessions in a row that reach no ACS after which DHCP is looked at again, 0 for never"
    )

    ca_file: Path | None = setting(
        None, "Certificates that the ACS's certificate must lead to (PEM); default the system's"
    )
    client_certificate: Path | None = setting(None, "The device's own certificate (PEM)")
    client_key: Path | None = setting(None, "Key of the device's own certificate (PEM)")
    allow_basic_over_http: bool = setting(
        False, "Give the password to an ACS that asks for Basic without TLS (laboratories only)"
    )

    proxy: str = setting(
        "", "HTTP proxy on the way to the ACS, such as http://user:password@proxy.example.com:3128", secret=True
    )

    session_timeout: float = setting(30.0, "How long to wait for each answer of the ACS", unit="seconds")
    periodic_inform_enable: bool | None = setting(
        None, "Whether to contact the ACS periodically; default the profile's"
    )
    periodic_inform_interval: int | None = setting(
        None, "Time between periodic contacts; default the profile's", unit="seconds"
    )
    retry_minimum_wait: int | None = setting(
        None, "Shortest wait before the first retry, 1 to 65535; default 5", unit="seconds"
    )
    retry_multiplier: int | None = setting(
        None, "Growth of the wait per retry, 1000 to 65535 thousandths; default 2000"
    )
    cwmp_version: str = setting(
        "1.4",
        "The newest CWMP version that the device speaks; 1.4 names all of them to the ACS",
        choices=("1.0", "1.1", "1.2", "1.3", "1.4"),
    )

    minimal_inform: bool = setting(
        False, "Leave known forced parameters out of Informs that report no boot, for links where every byte counts"
    )

    reboot: str = setting("exec", "What a reboot does", choices=("exec", "restart", "command"))
    reboot_command: tuple[str, ...] = setting(
        (), "Command and arguments that restart the device, for reboot=command; never run by a shell"
    )

    network_trial: float = setting(
        180.0,
        "Time in which the ACS must be reached after a change of this machine's network, or the change is undone",
        unit="seconds",
    )

    firmware_updater: str = setting(
        "directory",
        "What writes a new firmware: two directories (for trials), a program of the device, RAUC, or nothing",
        choices=("directory", "program", "rauc", "none"),
    )
    firmware_directory: Path | None = setting(
        None, "Where firmware_updater=directory keeps its two images; default in the state directory"
    )
    firmware_command: tuple[str, ...] = setting(
        (), "Program and first arguments for firmware_updater=program, or of RAUC; never run by a shell"
    )
    firmware_order: str = setting(
        "profile",
        "What comes first after a firmware was written: the report to the ACS or the restart; default as the profile's devices do",
        choices=("profile", "report-first", "restart-first"),
    )
    firmware_keys: tuple[Path, ...] = setting(
        (),
        "Ed25519 public keys (PEM), one of which must have signed a firmware; without any, signatures are not looked at",
    )
    firmware_trial: float = setting(
        600.0,
        "Time in which a new firmware must reach the ACS before the device goes back to the old one",
        unit="seconds",
    )

    transfer_schemes: tuple[str, ...] = setting(
        ("http", "https", "ftp", "sftp", "tftp"), "Protocols that a Download or Upload may use"
    )
    transfer_rate: int = setting(0, "Most that a transfer takes of the line, 0 for all", unit="bytes a second")
    transfer_time_limit: float = setting(
        3600.0, "Time in which one transfer must be complete, with all its repetitions", unit="seconds"
    )
    transfer_retries: int = setting(
        2,
        "How often a transfer is begun again that its file server could not serve just now "
        "(no connection, no answer, a cut, HTTP 429 or 5xx); 0: never",
    )
    transfer_retry_wait: float = setting(
        10.0,
        "Longest wait before the first of them; it doubles for each further one, and the half of it at least is waited",
        unit="seconds",
    )
    transfer_retry_longest: float = setting(
        300.0, "Longest wait between two of them, where the file server asks for no longer one", unit="seconds"
    )
    transfer_max_size: int = setting(1 << 30, "Largest file that is taken", unit="bytes")
    transfer_directories: tuple[str, ...] = setting(
        (),
        "Directories for further types of downloaded files, such as '2 Web Content=/srv/www' or '4 Tone File=/var/lib/tones'",
    )
    transfer_programs: tuple[str, ...] = setting(
        (),
        "Programs for further types of files, such as 'X 00256D Splash=/usr/lib/device/splash'; never run by a shell",
    )
    transfer_confirmation: bool = setting(
        True, "Whether a download may wait for a person at the device to agree (`homeport cpe confirm`, the web page)"
    )
    idle_after: float = setting(
        60.0, "Quiet time after which the device counts as idle; 0: downloads cannot wait for that", unit="seconds"
    )
    idle_traffic: int = setting(10_000, "Traffic of an idle device at most", unit="bytes a second")
    idle_load: float = setting(0.3, "Load of an idle device at most, per processor")
    transfer_known_hosts: Path | None = setting(
        None, "Keys of sftp servers that are trusted, as OpenSSH writes them; without it none is"
    )

    control_socket: Path | None = setting(
        None, "Socket for `homeport cpe show|set|...`; default control.sock in the state directory"
    )
    control_group: str = setting(
        "", "Group whose members may use the control socket; default the agent's own user alone"
    )

    web: bool = setting(True, "Whether the device's own web page is served")
    web_listen: str = setting(
        "127.0.0.1", "Address of the web page; any other than loopback needs a password (`homeport cpe web-password`)"
    )
    web_port: int = setting(8081, "Port of the web page; the next free one where it is taken, 0 for any")
    web_password_hash: str = setting(
        "", "Hash of the web page's password, as `homeport cpe web-password --print` makes it", secret=True
    )
    web_certificate: Path | None = setting(None, "Certificate with which the web page speaks https (PEM)")
    web_key: Path | None = setting(None, "Key of the web page's certificate (PEM)")

    log_file: Path | None = setting(
        None, "File for the log lines instead of standard error; opened anew on SIGHUP, for logrotate"
    )
    module_environments: tuple[str, ...] = setting(
        ("native",),
        "Where software modules run: native (child processes), package.module:name or an installed plug-in; none for no modules",
    )
    module_directory: Path | None = setting(
        None, "Where software modules are installed; default in the state directory"
    )
    module_user: str = setting(
        "", "User as whom software modules run; default the agent's own, who can read the device's passwords"
    )
    module_keys: tuple[Path, ...] = setting(
        (),
        "Ed25519 public keys (PEM), one of which must have signed a package; without any, signatures are not looked at",
    )
    module_checksums: tuple[str, ...] = setting(
        (), "SHA-256 of the packages that may be installed, hexadecimal; without any, all may"
    )
    module_max_size: int = setting(64 << 20, "Largest package, as fetched and unpacked", unit="bytes")
    module_disk: int = setting(
        0, "Disk space for all software modules of an environment, 0 for what is there", unit="bytes"
    )
    module_memory: int = setting(
        0, "Most address space that one unit may ask for and gets without asking, 0 for no limit", unit="bytes"
    )
    module_log_size: int = setting(256 << 10, "What is kept of each unit's output", unit="bytes")

    log_level: str = setting("info", "How much is logged", choices=("debug", "info", "warning", "error"))
    log_format: str = setting("text", "Log lines for people or for machines", choices=("text", "json"))

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that do not go together or are out of range."""
        if self.retry_minimum_wait is not None and not 1 <= self.retry_minimum_wait <= 65535:
            raise ConfigError("retry_minimum_wait must be from 1 to 65535 seconds, for example 5")
        if self.retry_multiplier is not None and not 1000 <= self.retry_multiplier <= 65535:
            raise ConfigError("retry_multiplier must be from 1000 to 65535 thousandths, for example 2000")
        if self.periodic_inform_interval is not None and self.periodic_inform_interval < 1:
            raise ConfigError("periodic_inform_interval must be at least 1 second, for example 900")
        if self.session_timeout < 1:
            raise ConfigError("session_timeout must be at least 1 second; the standard asks for 30")
        if not 0 <= self.connection_request_port <= 65535:
            raise ConfigError("connection_request_port must be from 0 to 65535, for example 7547")
        if self.connection_request_limit < 1:
            raise ConfigError("connection_request_limit must be at least 1 a minute")
        if self.oui and (len(self.oui) != 6 or any(c not in "0123456789ABCDEF" for c in self.oui)):
            raise ConfigError(f"oui {self.oui!r} must be six upper-case hexadecimal digits, for example 00256D")
        if self.reboot == "command" and not self.reboot_command:
            raise ConfigError('reboot=command needs reboot_command, for example ["systemctl", "reboot"]')
        if self.firmware_updater == "program" and not self.firmware_command:
            raise ConfigError('firmware_updater=program needs firmware_command, for example ["/usr/lib/device/update"]')
        if self.firmware_trial <= 0 or self.transfer_time_limit <= 0:
            raise ConfigError("firmware_trial and transfer_time_limit must be more than 0 seconds, for example 600")
        if self.network_trial <= 0:
            raise ConfigError("network_trial must be more than 0 seconds, for example 180")
        if self.idle_after < 0 or self.idle_traffic < 0 or self.idle_load < 0:
            raise ConfigError(
                "idle_after, idle_traffic and idle_load must not be negative; idle_after=0 switches it off"
            )
        if self.transfer_directories or self.transfer_programs:
            from homeport.cpe.transfers.handed_on import check_settings

            check_settings(self.transfer_directories, self.transfer_programs)
        if self.transfer_rate < 0 or self.transfer_max_size < 1:
            raise ConfigError("transfer_rate must not be negative and transfer_max_size at least 1 byte")
        if self.transfer_retries < 0 or not 0 < self.transfer_retry_wait <= self.transfer_retry_longest:
            raise ConfigError(
                "transfer_retries must not be negative, transfer_retry_wait more than 0 seconds "
                "and transfer_retry_longest not less than that"
            )
        if set(self.dhcp_request) - {"43", "125"} or not self.dhcp_request:
            raise ConfigError(f"dhcp_request {', '.join(self.dhcp_request) or 'is empty'}: known are 43 and 125")
        if "dslforum.org" not in self.dhcp_vendor_class or len(self.dhcp_vendor_class) > 255:
            raise ConfigError("dhcp_vendor_class must hold dslforum.org, for example 'Box-2000 dslforum.org'")
        if self.dhcp_rediscovery_after < 0:
            raise ConfigError("dhcp_rediscovery_after must not be negative; 0 is never")
        if self.module_max_size < 1 or self.module_log_size < 1 or self.module_disk < 0 or self.module_memory < 0:
            raise ConfigError(
                "module_max_size and module_log_size must be at least 1 byte, module_disk and module_memory not negative"
            )
        if self.module_user and self.module_directory is None:
            raise ConfigError(
                "module_user needs a module_directory that this user can enter, for example /var/lib/homeport-modules"
            )
        if any(len(c) != 64 or set(c.lower()) - set("0123456789abcdef") for c in self.module_checksums):
            raise ConfigError(
                "module_checksums are SHA-256 sums of 64 hexadecimal digits each, as sha256sum prints them"
            )
        unknown = set(self.transfer_schemes) - {"http", "https", "ftp", "sftp", "tftp"}
        if unknown or not self.transfer_schemes:
            raise ConfigError(
                f"transfer_schemes {', '.join(sorted(unknown)) or 'is empty'}: known are http, https, ftp, sftp, tftp"
            )
        for network in self.connection_request_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as e:
                raise ConfigError(f"connection_request_networks: {e}; expected for example 192.0.2.0/24") from e
        if self.proxy:
            from homeport.transport.proxy import parse_proxy

            parse_proxy(self.proxy)
        if not 0 <= self.web_port <= 65535:
            raise ConfigError("web_port must be from 0 to 65535, for example 8081")
        if self.web_password_hash:
            from homeport.cpe.web.password import check

            check(self.web_password_hash)
        if bool(self.web_certificate) != bool(self.web_key):
            raise ConfigError("web_certificate and web_key are only useful together")
        if bool(self.client_certificate) != bool(self.client_key):
            raise ConfigError("client_certificate and client_key are only useful together")

    @property
    def directory(self) -> Path:
        """The state directory, absolute."""
        return (self.state_dir or default_state_dir()).expanduser().absolute()
