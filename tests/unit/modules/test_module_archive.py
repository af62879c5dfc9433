"""Packages that a stranger made: everything that could lead out of the unit's own directory, or take more than it may, is refused."""

import gzip
import io
import os
import random
import stat
import tarfile

import pytest

from homeport.cpe.modules import archive
from homeport.cpe.modules.archive import LONGEST_HEADER, read_manifest, unpack
from homeport.errors import Fault

MANIFEST = b'format = "homeport-module/1"\nname = "a"\nvendor = "b"\nversion = "1"\n'
ROOM = 1 << 20


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def link(name, target, kind=tarfile.SYMTYPE):
    return member(name, type=kind, linkname=target)


def tar(*members, packed=False, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        for info, content in (member("module.toml", MANIFEST), *members):
            made.addfile(info, io.BytesIO(content))
    return gzip.compress(out.getvalue()) if packed else out.getvalue()


def lay_down(tmp_path, content):
    package = tmp_path / "package"
    package.write_bytes(content)
    return package


def refusal(tmp_path, content, *, max_size=ROOM):
    """The fault with which it is not unpacked; nothing may be outside its directory afterwards."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("untouched")
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(Fault) as caught:
        unpack(lay_down(tmp_path, content), home / "1", max_size=max_size)
    assert (outside / "secret").read_text() == "untouched" and os.listdir(outside) == ["secret"]
    assert sorted(os.listdir(tmp_path)) == ["home", "outside", "package"] and os.listdir(home) == ["1"]
    assert len(caught.value.text) <= 256
    return caught.value


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_honest_package_is_unpacked(tmp_path, packed, form):
    """Files with their content, programs that can be run, links that stay inside; owner, time and other rights are not taken over."""
    long = "deep/" + "n" * 90 + "/" + "m" * 90
    content = tar(
        member("bin", type=tarfile.DIRTYPE, mode=0o700),
        member("./bin/run", b"#!/bin/sh\n", mode=0o6755, uid=0),
        member("data.txt", b"x" * 70_000, mode=0o600),
        member(long, b"long name"),
        link("bin/start", "run"),
        link("current", "bin/../data.txt"),
        packed=packed,
        form=form,
    )
    package = lay_down(tmp_path, content)
    assert read_manifest(package, max_size=ROOM).name == "a"
    target = tmp_path / "home" / "1"
    assert unpack(package, target, max_size=ROOM) == len(MANIFEST) + 10 + 70_000 + 9
    assert (target / "bin/start").read_bytes() == b"#!/bin/sh\n" and (target / "current").stat().st_size == 70_000
    assert stat.S_IMODE((target / "bin/run").stat().st_mode) & ~0o022 == 0o755
    assert not (target / "data.txt").stat().st_mode & 0o100 and (target / long).read_bytes() == b"long name"


@pytest.mark.parametrize(
    "members",
    [
        [member("/etc/evil", b"x")],
        [member("../outside/secret", b"x")],
        [member("a/../../outside/secret", b"x")],
        [member("a\\..\\b", b"x")],
        [link("evil", "/etc/passwd")],
        [link("evil", "../outside/secret")],
        [link("a/evil", "../../outside")],
        [link("evil", "../outside"), member("evil/secret", b"x")],
        [link("evil", "."), member("evil/secret", b"x")],
        [member("evil/secret", b"x"), link("evil", "../outside")],
        [link("one", "."), link("two", "one/../../outside/secret")],
        [member("d", type=tarfile.DIRTYPE), link("d/up", ".."), link("out", "d/up/../outside")],
        [link("a", "b"), link("b", "../outside/secret")],
        [link("evil", "")],
        [link("evil", "module.toml/../../outside")],
        [link("evil", "/etc/passwd", tarfile.LNKTYPE)],
        [link("evil", "module.toml", tarfile.LNKTYPE)],
        [member("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [member("dev", type=tarfile.BLKTYPE, devmajor=8)],
        [member("pipe", type=tarfile.FIFOTYPE)],
        [member("odd", type=b"Z")],
        [member("sparse", type=tarfile.GNUTYPE_SPARSE)],
        [member("a", b"1"), member("a", b"2")],
        [member("a", b"1"), member("./a", b"2")],
        [member("a", b"1"), member("a/b", b"2")],
        [member("a/b", b"2"), member("a", b"1")],
        [member("a", type=tarfile.DIRTYPE), link("a", "module.toml")],
        [member("/".join("d" * 30), b"x")],
        [member("n" * 250, b"x")],
        [member("", b"x")],
        [member("module.toml", b"again")],
    ],
)
def test_a_hostile_package_is_refused(tmp_path, members):
    """9018, and not one byte outside the directory of the unit."""
    assert refusal(tmp_path, tar(*members)).code == 9018


def test_a_package_with_a_plain_name_for_a_device_is_refused_whatever_its_size(tmp_path):
    """Also where a pax header gives the name of the member afterwards."""
    info, content = member("fine", b"x")
    info.pax_headers = {"path": "../outside/secret"}
    assert refusal(tmp_path, tar((info, content))).code == 9018


def test_a_package_that_is_too_large_is_refused(tmp_path):
    """9027 as soon as the limit is passed; a small file that unpacks to much is no way around it."""
    assert refusal(tmp_path, tar(member("zeros", bytes(9 << 20)), packed=True)).code == 9027


def test_a_gzip_bomb_ends_at_the_limit(tmp_path):
    """A gigabyte of zeros behind the end of the archive is not read to its end."""
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as out:
        out.write(tar())
        for _ in range(64):
            out.write(bytes(1 << 20))
    assert refusal(tmp_path, bomb.getvalue()).code == 9027


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path, kind):
    """A long name of megabytes is refused before it is read."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, LONGEST_HEADER + 512
    assert refusal(tmp_path, info.tobuf(tarfile.USTAR_FORMAT) + bytes(LONGEST_HEADER + 2048)).code == 9018


def test_a_chain_of_long_headers_is_refused(tmp_path):
    """tarfile calls itself for each of them; a thousand would end in a recursion error."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.USTAR_FORMAT) + b"n\0".ljust(512, b"\0")
    assert refusal(tmp_path, block * 1500).code == 9018


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    """Each takes an inode and a moment, however small it is."""
    monkeypatch.setattr(archive, "MOST_MEMBERS", 20)
    fault = refusal(tmp_path, tar(*[member(f"f{n}") for n in range(21)]))
    assert fault.code == 9018 and "20 members" in fault.text


@pytest.mark.parametrize("packed", [False, True])
def test_a_package_that_is_cut_off_anywhere_is_refused(tmp_path, packed):
    """Every cut, also one between two members, where tar programs see a shorter archive."""
    whole = tar(member("a", b"a" * 600), member("b", b"b" * 10), packed=packed)
    end = len(whole) if packed else len(whole.rstrip(b"\0"))
    steps = range(0, end, 1 if packed else 64)
    for cut in steps:
        package = lay_down(tmp_path, whole[:cut])
        with pytest.raises(Fault) as caught:
            unpack(package, tmp_path / f"cut{cut}", max_size=ROOM)
        assert caught.value.code == 9018


def test_a_damaged_package_is_refused_or_gives_files_inside(tmp_path):
    """Random bytes changed: never another error than a Fault, never a file outside."""
    whole = bytearray(tar(member("a", b"a" * 600), link("l", "a"), member("d/b", b"b" * 10)))
    dice = random.Random(7)
    (tmp_path / "home").mkdir()
    for turn in range(int(os.environ.get("HOMEPORT_ARCHIVE_FUZZ", "100"))):
        broken = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            broken[dice.randrange(len(broken))] = dice.choice((0, 47, 46, 50, 255, dice.randrange(256)))
        try:
            unpack(lay_down(tmp_path, bytes(broken)), tmp_path / "home" / str(turn), max_size=ROOM)
        except Fault as e:
            assert e.code in (9018, 9027)
        assert sorted(os.listdir(tmp_path)) == ["home", "package"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", 9018), (b"\x1f\x8b", 9018), (b"not a tar file" * 100, 9018), (b"\x1f\x8bnot gzip", 9018)],
)
def test_what_is_no_archive_is_refused(tmp_path, content, code):
    """9018, from the manifest's reading too."""
    with pytest.raises(Fault) as caught:
        read_manifest(lay_down(tmp_path, content), max_size=ROOM)
    assert caught.value.code == code


def test_a_tar_file_without_manifest_is_for_another_environment(tmp_path):
    """9025: it may be a container image; the fault says what was looked for."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info, content = member("app/module.toml", MANIFEST)
        made.addfile(info, io.BytesIO(content))
    with pytest.raises(Fault) as caught:
        read_manifest(lay_down(tmp_path, out.getvalue()), max_size=ROOM)
    assert caught.value.code == 9025 and "module.toml" in caught.value.text


def test_a_manifest_that_is_too_long_is_not_read(tmp_path):
    """9018 with its size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info, content = member("module.toml", bytes(100_000))
        made.addfile(info, io.BytesIO(content))
    with pytest.raises(Fault) as caught:
        read_manifest(lay_down(tmp_path, out.getvalue()), max_size=ROOM)
    assert caught.value.code == 9018 and "100000" in caught.value.text
