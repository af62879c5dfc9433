"""Writes the golden file of a sample that has none yet: `python tests/golden/write_golden.py`. Existing files are never touched.

A golden file is read by a person before it is committed; tests compare it with the sample, and with the schemas where those are present.
"""

import sys
from pathlib import Path

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode
from homeport.codec.xml_write import WireStyle

FOLDER = Path(__file__).parent
PRETTY = WireStyle(prolog=True, pretty=True)
URNS = ("urn:dslforum-org:cwmp-1-0", "urn:dslforum-org:cwmp-1-1", "urn:dslforum-org:cwmp-1-2")


def golden_envelope(message: m.Message, urn: str) -> Envelope:
    """The envelope of a sample: every header element that goes with it."""
    last = urn == URNS[-1]
    if isinstance(message, m.Inform) and last:
        return Envelope(
            message, id="inform-1", urn=urn, session_timeout=60, supported_cwmp_versions=("1.0", "1.2", "1.4")
        )
    if isinstance(message, m.InformResponse):
        return Envelope(message, id="inform-1", urn=urn, hold_requests=True, use_cwmp_version="1.4" if last else None)
    return Envelope(message, id="a<b>&c", urn=urn)


def golden_cases(samples, since, sample_name):
    """(file, envelope) of every sample in every namespace that has it."""
    for message in samples:
        for urn in URNS:
            if urn >= since(message).urn:
                yield FOLDER / urn.rpartition(":")[2] / f"{sample_name(message)}.xml", golden_envelope(message, urn)


def main() -> int:
    """Writes what is missing and says what it wrote."""
    sys.path.insert(0, str(FOLDER.parent))
    from golden.codec_samples import SAMPLES, sample_name, since

    for path, envelope in golden_cases(SAMPLES, since, sample_name):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(envelope, style=PRETTY))
            sys.stdout.write(f"wrote {path.relative_to(FOLDER)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
