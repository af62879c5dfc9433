"""Builds the Debian packages `homeport` (agent, tools) and `homeport-acs` (what the server needs besides).

    make deb                         both, into dist/
    .venv/bin/python packaging/debian/build.py --output dist [--quick]

The Python packages that Homeport needs come from the environment that runs this script, which the lock files have filled; nothing is
fetched. They go into a private environment, /usr/lib/homeport, which borrows the system's interpreter and disturbs no other program.
The packages fit the Debian release whose python3 has the version of that environment (Debian 12: 3.11).
--quick compresses little, for tests.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from email.utils import formatdate
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = f"python3.{sys.version_info.minor}"
LIBRARY = Path("usr/lib/homeport")
SITE = LIBRARY / "lib" / PYTHON / "site-packages"
MAINTAINER = "The Homeport maintainers <maintainers@homeport.invalid>"
REVISION = "1"

DESCRIPTIONS = {
    "homeport": (
        "TR-069 (CWMP) agent and tools",
        "The agent manages a device over TR-069: it finds its ACS, keeps its promises\n"
        " over power cuts, and shows on a web page and on the command line what it does.\n"
        " The tools decode messages and DHCP options and look into data models.",
    ),
    "homeport-acs": (
        "TR-069 (CWMP) server for a fleet of devices",
        "The server (ACS) configures, reads, upgrades and repairs routers, fibre\n"
        " terminals, gateways and set-top boxes. SQLite is inside; PostgreSQL can be\n"
        " used.",
    ),
}


def main() -> int:
    """Builds both packages and prints their paths."""
    parser = argparse.ArgumentParser(description="Build the Debian packages.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="directory for the packages")
    parser.add_argument("--quick", action="store_true", help="compress little")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _last_commit() or time.time())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    agent = closure([*project["dependencies"], *extras["linux"], *extras["sftp"], *extras["xmpp"]])
    server = {name: found for name, found in closure(extras["acs"]).items() if name not in agent}
    for name, libraries in (("homeport", agent), ("homeport-acs", server)):
        with tempfile.TemporaryDirectory() as place:
            tree = Path(place) / name
            stage(tree, name, libraries, epoch)
            made = pack(tree, name, options.output, epoch, quick=options.quick)
            sys.stdout.write(f"{made}\n")
    return 0


# --- what goes in -------------------------------------------------------------------------------------------------------------


def closure(requirements: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """The installed packages that fulfil these requirements and each other's, by their normal names."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        key = name, frozenset(wanted.extras)
        if key in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        found[name] = importlib.metadata.distribution(wanted.name)
        for text in found[name].requires or ():
            needs = Requirement(text)
            if any(needs.marker is None or needs.marker.evaluate({"extra": e}) for e in (*wanted.extras, "")):
                needs.marker = None
                todo.append(needs)
    return dict(sorted(found.items()))


def stage(tree: Path, name: str, libraries: dict[str, importlib.metadata.Distribution], epoch: int) -> None:
    """Lays the files of one package out as they will be installed."""
    site = tree / SITE
    site.mkdir(parents=True)
    for distribution in libraries.values():
        copy_distribution(distribution, site)
    part = "cpe" if name == "homeport" else "acs"
    if name == "homeport":
        copy_homeport(tree)
    systemd = ROOT / "packaging" / "systemd"
    suffix = "" if part == "cpe" else "-acs"
    put(systemd / f"homeport-{part}.service", tree / "lib/systemd/system" / f"homeport-{part}.service")
    put(systemd / f"sysusers{suffix}.conf", tree / "usr/lib/sysusers.d" / f"{name}.conf")
    put(systemd / f"tmpfiles{suffix}.conf", tree / "usr/lib/tmpfiles.d" / f"{name}.conf")
    put(ROOT / "packaging/etc" / f"logrotate{suffix}", tree / "etc/logrotate.d" / name)
    put(ROOT / "packaging/etc" / f"{part}.toml", tree / "etc/homeport" / f"{part}.toml")
    documents(tree, name, part, libraries, epoch)
    strip(site)


def copy_distribution(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """One library's files, without scripts, byte code, tests and what only a compiler needs."""
    for file in distribution.files or ():
        unwanted = file.suffix in (".pyc", ".pyx", ".pxd", ".pxi", ".c", ".h", ".cpp", ".a", ".pyi")
        if ".." in file.parts or "__pycache__" in file.parts or "tests" in file.parts or unwanted:
            continue
        if file.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json") or "licenses" in file.parts:
            continue  # pip's own notes; the licences are in the package's copyright file
        source = Path(str(file.locate()))
        if source.is_file():
            put(source, site / file)


def copy_homeport(tree: Path) -> None:
    """Homeport itself, the private environment around it, and its commands."""
    shutil.copytree(ROOT / "src/homeport", tree / SITE / "homeport", ignore=shutil.ignore_patterns("__pycache__"))
    commands = tree / LIBRARY / "bin"
    commands.mkdir(parents=True)
    (tree / LIBRARY / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.{sys.version_info.minor}\n",
        encoding="utf-8",
    )
    (commands / "python3").symlink_to(f"../../../bin/{PYTHON}")
    (tree / "usr/bin").mkdir(parents=True)
    for command, entry in (("homeport", "run"), ("cwmp", "run_cwmp")):
        script = (
            f"#!/{LIBRARY}/bin/python3 -I\nimport sys\n\nfrom homeport.cli.main import {entry}\n\nsys.exit({entry}())\n"
        )
        (commands / command).write_text(script, encoding="utf-8")
        (commands / command).chmod(0o755)
        (tree / "usr/bin" / command).symlink_to(f"../lib/homeport/bin/{command}")


def documents(
    tree: Path, name: str, part: str, libraries: dict[str, importlib.metadata.Distribution], epoch: int
) -> None:
    """Copyright, changes, manual pages, examples, and why lintian's remarks are not to be followed."""
    doc = tree / "usr/share/doc" / name
    doc.mkdir(parents=True)
    (doc / "copyright").write_text(copyright_of(libraries), encoding="utf-8")
    change = f"{name} ({version()}) unstable; urgency=medium\n\n  * See the changelog of Homeport.\n\n"
    change += f" -- {MAINTAINER}  {formatdate(epoch)}\n"
    compressed(change.encode(), doc / "changelog.Debian.gz")
    put(ROOT / "docs/reference" / f"settings-{part}.md", doc / f"settings-{part}.md")
    put(HERE / f"{name}.README.Debian", doc / "README.Debian")
    if name == "homeport":
        put(ROOT / "packaging/systemd/this-machine.conf", doc / "examples/this-machine.conf")
        for page in ("homeport", "cwmp"):
            compressed((HERE / f"{page}.1").read_bytes(), tree / "usr/share/man/man1" / f"{page}.1.gz")
    overrides = tree / "usr/share/lintian/overrides" / name
    overrides.parent.mkdir(parents=True)
    lines = [
        line
        for line in (HERE / "lintian-overrides").read_text(encoding="utf-8").splitlines()
        if line.startswith(("#", name + ":"))
    ]
    overrides.write_text("\n".join(lines) + "\n", encoding="utf-8")


def copyright_of(libraries: dict[str, importlib.metadata.Distribution]) -> str:
    """Homeport's licence, and the licence of each library that is in the package, in Debian's form."""
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: homeport\n",
        f"Files: *\nCopyright: {MAINTAINER}\nLicense: Apache-2.0\n"
        " On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n",
    ]
    for name, distribution in libraries.items():
        meta = distribution.metadata
        classified = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License ::")]
        licence = (
            meta.get("License-Expression")
            or ", ".join(classified)
            or (meta.get("License") or "see below").splitlines()[0]
        )
        who = meta.get("Author-email") or meta.get("Author") or "see the licence text"
        texts = [
            Path(str(f.locate())) for f in distribution.files or () if re.match(r"(LICEN[CS]E|COPYING|NOTICE)", f.name)
        ]
        body = (
            "\n".join(shortened(t.read_text(encoding="utf-8", errors="replace")) for t in texts if t.is_file())
            or licence
        )
        indented = "\n".join(f" {line}" if line.strip() else " ." for line in body.strip().splitlines())
        short = re.sub(r"[^A-Za-z0-9.+-]+", "-", f"{name}-{licence}")[:60].strip("-")
        top = distribution.read_text("top_level.txt") or name.replace("-", "_")
        files = " ".join(f"{SITE}/{word}*" for word in top.split())
        parts.append(f"Files: {files}\nCopyright: {' '.join(who.split())}\nLicense: {short}\n{indented}\n")
    return "\n".join(parts)


def shortened(text: str) -> str:
    """A licence, or where Debian has its text."""
    if "Apache License" in text and "TERMS AND CONDITIONS" in text:
        return "Licensed under the Apache License, Version 2.0: /usr/share/common-licenses/Apache-2.0."
    for title, found in (("GENERAL PUBLIC LICENSE", "GPL"), ("LESSER GENERAL PUBLIC LICENSE", "LGPL")):
        number = re.search(rf"GNU {title}\s+Version (\d)", text)
        if number:
            return f"Licensed under the {found}, version {number.group(1)}: /usr/share/common-licenses/{found}-{number.group(1)}."
    return text


# --- packing ------------------------------------------------------------------------------------------------------------------


def pack(tree: Path, name: str, output: Path, epoch: int, *, quick: bool) -> Path:
    """The .deb of a tree that is laid out."""
    control = tree / "DEBIAN"
    control.mkdir()
    size = sum(f.lstat().st_size for f in tree.rglob("*") if f.is_file() and not f.is_symlink()) // 1024
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    short, long = DESCRIPTIONS[name]
    if name == "homeport":
        depends = f"{PYTHON}, python3, libc6 (>= 2.28), libstdc++6, systemd | systemd-standalone-sysusers"
        more = "Suggests: homeport-acs\n"
    else:
        depends, more = f"homeport (= {version()}), libc6 (>= 2.28)", "Suggests: postgresql\n"
    (control / "control").write_text(
        f"Package: {name}\nVersion: {version()}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\n"
        f"Installed-Size: {size}\nDepends: {depends}\n{more}Section: net\nPriority: optional\n"
        f"Description: {short}\n {long}\n",
        encoding="utf-8",
    )
    configured = sorted(f"/{f.relative_to(tree)}" for f in (tree / "etc").rglob("*") if f.is_file())
    (control / "conffiles").write_text("".join(f"{f}\n" for f in configured), encoding="utf-8")
    part = "cpe" if name == "homeport" else "acs"
    for script in ("postinst", "prerm", "postrm"):
        text = (HERE / script).read_text(encoding="utf-8").replace("@PACKAGE@", name).replace("@PART@", part)
        (control / script).write_text(text.replace("@PYTHON@", PYTHON), encoding="utf-8")
        (control / script).chmod(0o755)
    sums = subprocess.run(
        "find . -path ./DEBIAN -prune -o -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 md5sum",
        shell=True, cwd=tree, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (control / "md5sums").write_text(sums, encoding="utf-8")
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or (path.parent == control and path.name in ("postinst", "prerm", "postrm"))
            executable = executable or path.parent == tree / LIBRARY / "bin"
            ours = tree / SITE / "homeport" in path.parents
            executable = executable or (ours and path.suffix == ".sh" and path.read_bytes().startswith(b"#!"))
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    target = output / f"{name}_{version()}_{architecture}.deb"
    compression = ["-Zgzip", "-z1"] if quick else ["-Zxz"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *compression, "--build", str(tree), str(target)],
        check=True, stdout=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    return target


def strip(site: Path) -> None:
    """Takes debugging symbols out of compiled modules, where the tool is there."""
    tool = shutil.which("strip")
    modules = [str(p) for p in site.rglob("*.so*") if p.is_file()]
    if tool and modules:
        subprocess.run([tool, "--strip-unneeded", *modules], check=True)


def version() -> str:
    """Homeport's version with the package's own revision."""
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / "src/homeport/_version.py").read_text(encoding="utf-8"))
    assert found is not None
    return f"{found.group(1)}-{REVISION}"


def put(source: Path, target: Path) -> None:
    """Copies one file, and makes the directories above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def compressed(content: bytes, target: Path) -> None:
    """Writes a .gz that depends on nothing but its content."""
    import gzip

    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content, 9, mtime=0))


def _last_commit() -> str:
    run = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
