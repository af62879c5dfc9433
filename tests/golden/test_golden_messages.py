"""Golden files: the bytes of every message kind in every namespace, and their meaning, both ways."""

import re
from pathlib import Path

import pytest

from golden.codec_samples import SAMPLES, sample_name, since
from golden.write_golden import PRETTY, URNS, golden_cases
from homeport.codec.envelope import decode, encode

FOLDER = Path(__file__).parent
CASES = list(golden_cases(SAMPLES, since, sample_name))


@pytest.mark.parametrize(("path", "envelope"), [pytest.param(p, e, id=f"{p.parent.name}/{p.stem}") for p, e in CASES])
def test_bytes_and_meaning_agree_both_ways(path, envelope):
    """Each file decodes to its sample without a quirk, and the sample encodes to the file, indented or not."""
    body = path.read_bytes()
    assert decode(body) == envelope
    assert encode(envelope, style=PRETTY) == body
    on_one_line = re.sub(rb">\s+<", b"><", body).strip()
    assert encode(envelope) == on_one_line.removeprefix(b'<?xml version="1.0" encoding="UTF-8"?>')


def test_every_golden_file_has_a_sample():
    """A file that no test reads would prove nothing."""
    folders = [urn.rpartition(":")[2] for urn in URNS]
    on_disk = {path for folder in folders for path in (FOLDER / folder).glob("*.xml")}
    assert on_disk == {path for path, _ in CASES}
