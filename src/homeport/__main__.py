"""`python -m homeport` is the command `homeport`."""

import sys

from homeport.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
