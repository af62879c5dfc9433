"""A time-boxed run of the fuzz target for HTTP headers; HOMEPORT_FUZZ_SECONDS makes it longer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("fuzz_http.py")
SEED = os.environ.get("HOMEPORT_FUZZ_SEED", "69")  # fixed, so that the same tree gives the same verdict; 0 takes chance


@pytest.mark.fuzz
def test_no_header_makes_a_reader_fail_or_hang(tmp_path):
    """Digest and cookie parsers, header blocks, content codings, PROXY headers: read or refused, at most 50 ms per KB."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed here (it does not exist for this Python)")
    seconds = int(os.environ.get("HOMEPORT_FUZZ_SECONDS", "5"))
    run = subprocess.run(
        [
            sys.executable,
            str(TARGET),
            f"-max_total_time={seconds}",
            f"-seed={SEED}",
            "-max_len=4096",
            "-rss_limit_mb=1024",
        ],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 60,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done " in run.stderr, run.stderr[-3000:]
