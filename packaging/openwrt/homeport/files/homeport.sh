#!/bin/sh
# `homeport` and `cwmp`: the private library directory, and the socket of the running agent.
HOMEPORT_CPE_CONTROL_SOCKET=${HOMEPORT_CPE_CONTROL_SOCKET:-/var/run/homeport/cpe.sock}
PYTHONPATH=/usr/lib/homeport/site
PYTHONDONTWRITEBYTECODE=1
export HOMEPORT_CPE_CONTROL_SOCKET PYTHONPATH PYTHONDONTWRITEBYTECODE
case "${0##*/}" in
cwmp) exec /usr/bin/python3 -s -c 'import sys; from homeport.cli.main import run_cwmp; sys.exit(run_cwmp())' "$@" ;;
*) exec /usr/bin/python3 -s -m homeport "$@" ;;
esac
