"""Names and clocks as /etc has them, read and written."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from homeport.cpe.devices.linux import names


def put(root: Path, name: str, text: str) -> Path:
    """A file below a root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_dns_servers_are_those_that_are_asked_in_the_end(tmp_path: Path) -> None:
    """Behind systemd-resolved's own address stand the servers that it asks."""
    put(tmp_path, "etc/resolv.conf", "# comment\nnameserver 127.0.0.53\noptions edns0\n")
    assert names.dns_servers(tmp_path) == ["127.0.0.53"]
    put(tmp_path, "run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    assert names.dns_servers(tmp_path) == ["192.0.2.53", "2001:db8::53"]


def test_other_dns_servers_leave_the_search_list_as_it_is() -> None:
    """resolv.conf(5)."""
    text = "search example.com\nnameserver 192.0.2.1\noptions timeout:1\n"
    assert names.with_dns_servers(text, ["192.0.2.2", "192.0.2.3"]) == (
        "search example.com\noptions timeout:1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )


@pytest.mark.parametrize(
    ("file", "text", "service", "servers"),
    [
        ("etc/chrony/chrony.conf", "pool 2.debian.pool.ntp.org iburst\nserver 192.0.2.1\n", "chrony", 2),
        ("etc/ntp.conf", "driftfile /x\nserver -4 ntp.example.com prefer\n#server no\n", "ntp", 1),
        (
            "etc/systemd/timesyncd.conf",
            "[Time]\nNTP=a.example.com b.example.com\nFallbackNTP=c\n",
            "systemd-timesyncd",
            2,
        ),
    ],
)
def test_ntp_servers_are_read_and_written_where_each_client_keeps_them(
    tmp_path: Path, file: str, text: str, service: str, servers: int
) -> None:
    """chrony.conf(5), ntp.conf(5), timesyncd.conf(5): the rest of the file stays."""
    path = put(tmp_path, file, text)
    found = names.time_service(tmp_path)
    assert (found.name, found.file, len(found.servers)) == (service, file, servers)
    path.write_text(names.with_ntp_servers(found, text, ["192.0.2.7", "ntp2.example.com"]))
    assert names.time_service(tmp_path).servers == ("192.0.2.7", "ntp2.example.com")
    kept = [line for line in text.splitlines() if not line.startswith(("pool", "server", "NTP="))]
    assert all(line in path.read_text().splitlines() for line in kept)


def test_a_timesyncd_without_a_configuration_gets_one(tmp_path: Path) -> None:
    """The packaged file may be all comments, or not there."""
    service = names.TimeService("systemd-timesyncd", "etc/systemd/timesyncd.conf")
    text = names.with_ntp_servers(service, "#NTP=\n", ["192.0.2.7"])
    put(tmp_path, "etc/systemd/timesyncd.conf", text)
    assert names.time_service(tmp_path).servers == ("192.0.2.7",)


def test_a_machine_without_an_ntp_client_has_none(tmp_path: Path) -> None:
    """Nothing to be shown, and nothing to be written."""
    assert names.time_service(tmp_path) == names.TimeService()


@pytest.mark.parametrize("rule", ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "<-03>3", "EST5EDT,M3.2.0,M11.1.0"])
def test_a_posix_rule_becomes_a_zone_file_that_others_read(tmp_path: Path, rule: str) -> None:
    """RFC 8536: a file with nothing but the rule in its footer; Python's own reader is the witness."""
    path = tmp_path / "etc/localtime"
    path.parent.mkdir()
    path.write_bytes(names.zone_file(rule))
    assert names.time_zone(tmp_path) == rule
    with path.open("rb") as file:
        zone = ZoneInfo.from_file(file)
    winter = datetime(2026, 1, 15, 12, tzinfo=zone).utcoffset()
    assert winter is not None
    hours = {"UTC0": 0, "CET-1CEST,M3.5.0,M10.5.0/3": 1, "<-03>3": -3, "EST5EDT,M3.2.0,M11.1.0": -5}[rule]
    assert winter.total_seconds() == hours * 3600
    if "CEST" in rule:
        summer = datetime(2026, 7, 15, 12, tzinfo=zone).utcoffset()
        assert summer is not None and summer.total_seconds() == 7200


@pytest.mark.parametrize("text", ["Europe/Berlin", "", "CET", "1", "CET-1CEST;rm", "../../etc/passwd"])
def test_what_is_no_posix_zone_is_not_taken_for_one(text: str) -> None:
    """An ACS may write anything."""
    assert not names.is_posix_zone(text)


def test_a_zone_is_found_by_its_name_and_nothing_outside_the_data_base(tmp_path: Path) -> None:
    """A name with dots in it could lead anywhere."""
    put(tmp_path, "usr/share/zoneinfo/Europe/Berlin", "TZif")
    put(tmp_path, "etc/passwd", "x")
    assert names.zone_by_name("Europe/Berlin", tmp_path) is not None
    assert names.zone_by_name("../../../etc/passwd", tmp_path) is None
    assert names.zone_by_name("Europe", tmp_path) is None


def test_ordinary_users_are_people_and_no_password_is_read(tmp_path: Path) -> None:
    """Accounts of services are below 1000, nobody is 65534."""
    put(
        tmp_path,
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nanna:$6$hash:1000:1000:Anna:/home/anna:/bin/bash\n"
        "nobody:x:65534:65534::/:/usr/sbin/nologin\nbroken line\n",
    )
    put(tmp_path, "etc/group", "anna:x:1000:\nsudo:x:27:anna\n")
    assert names.users(tmp_path) == [names.User("anna", 1000, "/bin/bash", ("anna", "sudo"))]


@pytest.mark.parametrize(
    ("text", "good"),
    [("box-1", True), ("box.example.com", True), ("-box", False), ("b_x", False), ("a" * 65, False), ("", False)],
)
def test_host_names_follow_the_rules(text: str, good: bool) -> None:
    """RFC 1123: letters, digits and hyphens; Linux takes 64 characters."""
    assert names.is_host_name(text) is good
