"""Files of the Broadband Forum's XML: reading them safely, and finding what a name in one of them refers to.

A file may declare entities for its own patterns, so those are expanded; external ones, networks and DTD files are refused.
Elements are matched by local name, whatever namespace version the file was written for.
Source: cwmp-datamodel-1-15.xsd; naming of files in parts as in data-models.md section 6.
"""

import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Final

from lxml import etree

from homeport.errors import ConfigError

MAX_FILE: Final = 64 * 1024 * 1024
"""octets; the largest published model is 5 MB"""

_RELEASE: Final = re.compile(
    r"(?P<head>[a-z]+-[0-9]+-[0-9]+)-(?P<minor>[0-9]+)-(?P<patch>[0-9]+)(?:-(?P<tail>.+))?\.xml\Z"
)


class Element:
    """One XML element with the file that it came from, so that every complaint can say where."""

    __slots__ = ("raw", "document")

    def __init__(self, raw: "etree._Element", document: "Document") -> None:
        self.raw = raw
        self.document = document

    @property
    def tag(self) -> str:
        """Local name."""
        return str(self.raw.tag).rpartition("}")[2]

    def get(self, name: str, default: str = "") -> str:
        """An attribute, without surrounding blanks."""
        return str(self.raw.get(name, default)).strip()

    def raw_text(self, name: str) -> str:
        """An attribute exactly as it was written."""
        return str(self.raw.get(name, ""))

    def has(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def number(self, name: str, default: int) -> int:
        """An attribute that must be a whole number. Raises ConfigError."""
        text = self.get(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise self.error(f"{name}={text!r} is not a whole number", "correct it") from None

    def __iter__(self) -> Iterator["Element"]:
        for child in self.raw:
            if isinstance(child.tag, str):
                yield Element(child, self.document)

    def children(self, *tags: str) -> Iterator["Element"]:
        """Child elements of these local names, in document order."""
        for child in self:
            if child.tag in tags:
                yield child

    def child(self, tag: str) -> "Element | None":
        """The first child of a local name, or None."""
        return next(self.children(tag), None)

    def error(self, fact: str, cure: str) -> ConfigError:
        """A ConfigError that names file, line and element."""
        name = self.get("name") or self.get("base") or self.get("ref") or self.get("id")
        shown = f"<{self.tag}{f' {name}' if name else ''}>"
        return ConfigError(f"{self.document.path.name}:{self.raw.sourceline}: {shown}: {fact}; {cure}")


class Document:
    """One file: what it defines and what it imports, by kind and name."""

    def __init__(self, path: FilePath, root: "etree._Element") -> None:
        self.path = path
        self.root = Element(root, self)
        self.defined: dict[tuple[str, str], Element] = {}
        self.imported: dict[tuple[str, str], tuple[str, str]] = {}
        """(kind, name here) -> (file name, name there)"""
        if self.root.tag != "document":
            raise self.root.error(
                "is not a data model document", "give a Broadband Forum model file, whose root element is dm:document"
            )
        for element in self.root:
            if element.tag in ("component", "dataType", "model"):
                self.defined[element.tag, element.get("name")] = element
            elif element.tag == "import":
                for item in element:
                    name = item.get("name")
                    self.imported[item.tag, name] = (element.get("file"), item.get("ref") or name)

    @property
    def models(self) -> list[str]:
        """Names of the models that the file defines, in document order."""
        return [name for kind, name in self.defined if kind == "model"]


class Library:
    """The files of one import: read once each, found beside the first one."""

    def __init__(self, main: FilePath) -> None:
        self._documents: dict[FilePath, Document] = {}
        self.main = self.read(main)
        match = _RELEASE.match(main.name)
        self._release = (int(match["minor"]), int(match["patch"])) if match else None

    def read(self, path: FilePath) -> Document:
        """The document in a file. Raises ConfigError where it cannot be read or is not XML."""
        path = path.resolve()
        found = self._documents.get(path)
        if found is None:
            found = self._documents[path] = Document(path, _parse(path))
        return found

    def resolve(self, document: Document, kind: str, name: str, by: Element) -> Element:
        """The element that defines a component, dataType or model for a document. Raises ConfigError."""
        seen: set[tuple[FilePath, str]] = set()
        while True:
            found = document.defined.get((kind, name))
            if found is not None:
                return found
            imported = document.imported.get((kind, name)) or self._unlisted(document, kind, name, by)
            if imported is None or (document.path, name) in seen:
                raise by.error(
                    f"{kind} {name} is not known in {document.path.name}",
                    f"add it, or import it: <import file=...><{kind} name={name!r}/></import>",
                )
            seen.add((document.path, name))
            file, name = imported
            document = self.read(self._find(document, file, by))

    def _unlisted(self, document: Document, kind: str, name: str, by: Element) -> tuple[str, str] | None:
        """A type that one of the imported files defines though the import does not list it: TR-181 2.19's wifi-de uses URI so."""
        if kind != "dataType":
            return None
        for file in dict.fromkeys(file for file, _ in document.imported.values()):
            if (kind, name) in self.read(self._find(document, file, by)).defined:
                return file, name
        return None

    def _find(self, document: Document, file: str, by: Element) -> FilePath:
        folder = document.path.parent
        if (folder / file).is_file():
            return folder / file
        best: tuple[tuple[bool, int, int], FilePath] | None = None
        for candidate in folder.glob("*.xml"):
            match = _RELEASE.match(candidate.name)
            if match is None:
                continue
            version = (int(match["minor"]), int(match["patch"]))
            tail = match["tail"]
            spellings = {f"{match['head']}-{tail}.xml", f"{match['head']}-{match['minor']}-{tail}.xml"}
            if tail is None:
                spellings = {f"{match['head']}.xml", f"{match['head']}-{match['minor']}.xml"}
            if file not in spellings:
                continue
            # A later correction of the same release will do where the release itself is not there.
            fits = self._release is None or version <= self._release
            if not fits and self._release is not None and version[0] != self._release[0]:
                continue
            rank = (fits, *version)
            if best is None or rank > best[0]:
                best = rank, candidate
        if best is None:
            limit = f" that is not newer than {self._release[0]}.{self._release[1]}" if self._release else ""
            raise by.error(
                f"imports from {file}, but there is no such file{limit} in {folder}",
                f"put it beside {document.path.name}",
            )
        return best[1]


def _parse(path: FilePath) -> "etree._Element":
    parser = etree.XMLParser(
        resolve_entities="internal",
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        if path.stat().st_size > MAX_FILE:
            raise ConfigError(f"{path}: larger than {MAX_FILE} octets; no model file is")
        return etree.parse(str(path), parser).getroot()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); check the name") from None
    except etree.XMLSyntaxError as error:
        raise ConfigError(f"{path.name}:{error.lineno}: not well-formed XML: {error.msg}; correct the file") from None
