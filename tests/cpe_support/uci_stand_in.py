#!/usr/bin/env python3
"""A small uci for tests: the real program's commands over the real files, `package`, `config`, `option` and `list` lines.

`uci [-q] [-X] [-c DIR] show|get|set|add_list|del_list|delete|commit|revert ...`. Changes that are not committed are kept in
DIR/.pending, as uci keeps them in /tmp/.uci. Written after uci's documented behaviour; what the agent does not use is left out.
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path

Section = dict  # {"name": str, "kind": str, "anonymous": bool, "options": {name: text | list}}


def load(path: Path) -> list[Section]:
    """The sections of a configuration file."""
    sections: list[Section] = []
    for line in path.read_text().splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "config":
            anonymous = len(words) < 3
            name = f"cfg{len(sections):02x}" if anonymous else words[2]
            sections.append({"name": name, "kind": words[1], "anonymous": anonymous, "options": {}})
        elif words[0] == "option":
            sections[-1]["options"][words[1]] = words[2]
        elif words[0] == "list":
            sections[-1]["options"].setdefault(words[1], []).append(words[2])
    return sections


def dump(sections: list[Section]) -> str:
    """The file of some sections."""

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "'\\''") + "'"

    lines = []
    for section in sections:
        lines.append(f"config {section['kind']}" + ("" if section["anonymous"] else f" {quoted(section['name'])}"))
        for name, value in section["options"].items():
            if isinstance(value, list):
                lines += [f"\tlist {name} {quoted(v)}" for v in value]
            else:
                lines.append(f"\toption {name} {quoted(value)}")
        lines.append("")
    return "\n".join(lines)


class Uci:
    """One call of the program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pending = directory / ".pending"

    def sections(self, package: str) -> list[Section]:
        pending = self.pending / package
        if pending.exists():
            found: list[Section] = json.loads(pending.read_text())
            return found
        return load(self.directory / package)

    def put(self, package: str, sections: list[Section]) -> None:
        self.pending.mkdir(exist_ok=True)
        (self.pending / package).write_text(json.dumps(sections))

    def section(self, sections: list[Section], name: str) -> Section | None:
        match = re.fullmatch(r"@(\w+)\[(-?\d+)\]", name)
        if match:
            return [s for s in sections if s["kind"] == match[1]][int(match[2])]
        return next((s for s in sections if s["name"] == name), None)

    def run(self, command: str, arguments: list[str]) -> int:
        if command == "commit":
            for package in arguments:
                pending = self.pending / package
                if pending.exists():
                    new = self.directory / f"{package}.new"
                    new.write_text(dump(json.loads(pending.read_text())))
                    os.replace(new, self.directory / package)
                    pending.unlink()
            return 0
        if command == "revert":
            for package in arguments:
                (self.pending / package).unlink(missing_ok=True)
            return 0
        (argument,) = arguments
        path, _, value = argument.partition("=")
        package, *rest = path.split(".", 2)
        sections = self.sections(package)
        if command == "show":
            self.show(package, sections)
            return 0
        section = self.section(sections, rest[0])
        if command == "set" and len(rest) == 1:
            if section is None:
                sections.append({"name": rest[0], "kind": value, "anonymous": False, "options": {}})
            else:
                section["kind"] = value
        elif section is None:
            return self.missing()
        elif command == "get":
            found = section["options"].get(rest[1]) if len(rest) > 1 else section["kind"]
            if found is None:
                return self.missing()
            sys.stdout.write((" ".join(found) if isinstance(found, list) else found) + "\n")
            return 0
        elif command == "set":
            section["options"][rest[1]] = value
        elif command == "add_list":
            before = section["options"].get(rest[1], [])
            section["options"][rest[1]] = [*([before] if isinstance(before, str) else before), value]
        elif command == "del_list":
            section["options"][rest[1]] = [v for v in section["options"].get(rest[1], []) if v != value]
        elif command == "delete" and len(rest) == 1:
            sections.remove(section)
        elif command == "delete" and section["options"].pop(rest[1], None) is None:
            return self.missing()
        self.put(package, sections)
        return 0

    def show(self, package: str, sections: list[Section]) -> None:
        counted: dict[str, int] = {}
        for section in sections:
            at = counted[section["kind"]] = counted.get(section["kind"], -1) + 1
            name = f"@{section['kind']}[{at}]" if section["anonymous"] else section["name"]
            sys.stdout.write(f"{package}.{name}={section['kind']}\n")
            for option, value in section["options"].items():
                values = value if isinstance(value, list) else [value]
                shown = " ".join("'" + v.replace("'", "'\\''") + "'" for v in values)
                sys.stdout.write(f"{package}.{name}.{option}={shown}\n")

    @staticmethod
    def missing() -> int:
        sys.stderr.write("uci: Entry not found\n")
        return 1


def main(arguments: list[str]) -> int:
    """The exit status."""
    directory = Path(os.environ.get("UCI_CONFIG_DIR", "/etc/config"))
    while arguments and arguments[0].startswith("-"):
        flag = arguments.pop(0)
        if flag == "-c":
            directory = Path(arguments.pop(0))
    try:
        return Uci(directory).run(arguments[0], arguments[1:])
    except (FileNotFoundError, IndexError):
        return Uci.missing()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
