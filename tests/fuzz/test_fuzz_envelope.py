"""A time-boxed run of the fuzz target: no crash, no hang, no disagreement between the ways of reading."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).parent / "fuzz_envelope.py"
SEED = os.environ.get("HOMEPORT_FUZZ_SEED", "69")  # fixed, so that the same tree gives the same verdict; 0 takes chance
SECONDS = int(os.environ.get("HOMEPORT_FUZZ_SECONDS", "3"))


@pytest.mark.fuzz
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed for this Python")
def test_no_input_crashes_the_decoder_or_keeps_it_busy(tmp_path, capsys):
    """Any bytes give an Envelope or a ProtocolError within 50 ms per KB and 600 MB (HOMEPORT_FUZZ_SECONDS sets the time)."""
    run = subprocess.run(
        [
            sys.executable,
            str(TARGET),
            f"-max_total_time={SECONDS}",
            f"-seed={SEED}",
            "-timeout=10",
            "-rss_limit_mb=600",
            "-max_len=8192",
            f"-artifact_prefix={tmp_path}/",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 90,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr[-4000:]
    done = re.findall(r"Done (\d+) runs", run.stderr)
    assert done
    assert int(done[0]) > 100 * SECONDS
    with capsys.disabled():
        print(f" [{int(done[0]):,} inputs]", end="")
