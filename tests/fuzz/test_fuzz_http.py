"""Time-boxed runs of the fuzz targets for HTTP; HOMEPORT_FUZZ_SECONDS makes it longer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SEED = os.environ.get("HOMEPORT_FUZZ_SEED", "69")  # fixed, so that the same tree gives the same verdict; 0 takes chance


@pytest.mark.fuzz
def test_no_header_makes_a_reader_fail_or_hang(tmp_path):
    """Digest and cookie parsers, header blocks, content codings: read or refused, at most 50 ms per KB."""
    fuzz("fuzz_http.py", tmp_path, seconds=2)


@pytest.mark.fuzz
def test_no_bytes_make_the_two_ways_to_read_requests_differ(tmp_path):
    """What the ACS reads without the parser is what the parser would have read."""
    fuzz("fuzz_heads.py", tmp_path, seconds=2)


def fuzz(target: str, directory: Path, *, seconds: int) -> None:
    """Run a target for so long, or for HOMEPORT_FUZZ_SECONDS."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed here (it does not exist for this Python)")
    seconds = int(os.environ.get("HOMEPORT_FUZZ_SECONDS", seconds))
    run = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name(target)),
            f"-max_total_time={seconds}",
            f"-seed={SEED}",
            "-max_len=4096",
            "-rss_limit_mb=1024",
        ],
        cwd=directory,
        env={**os.environ, "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 60,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done " in run.stderr, run.stderr[-3000:]
