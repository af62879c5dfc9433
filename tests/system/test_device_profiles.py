"""Every shipped device profile as a real agent at a real ACS: it informs, and all of its parameters can be read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.ends import Acs, Agent
from support.kills import finished, known

pytestmark = pytest.mark.system

ROOTS = {
    "dkt-797xx": "Device.",
    "igd": "InternetGatewayDevice.",
    "linux": "Device.",
    "nas": "Device.",
    "rdk-stb": "Device.",
    "vega-gateway": "Device.",
}


def test_every_profile_informs_and_answers_for_its_whole_tree(open_acs: Acs, tmp_path: Path) -> None:
    """Six kinds of devices contact one ACS; GetParameterValues and GetParameterNames of each root are done."""
    acs = open_acs
    agents = [
        Agent(tmp_path / name, acs.cwmp_url, f"P-{number}", "--profile", name, "--udp-connection-request-port", "0")
        for number, name in enumerate(ROOTS)
    ]
    try:
        for agent in agents:
            agent.start()
        devices = [known(acs, agent.serial) for agent in agents]
        tasks = []
        for device, root in zip(devices, ROOTS.values(), strict=True):
            tasks.append(acs.task(device, "GetParameterNames", {"parameter_path": root, "next_level": False}))
            read = {"parameter_names": [root]}
            tasks.append(acs.task(device, "GetParameterValues", read, connection_request=True))
        assert finished(acs, tasks) == ["done"] * len(tasks), [a.said() for a in agents]
        for at, device in enumerate(devices):
            values = acs.rest("GET", f"tasks/{tasks[2 * at + 1]}")["result"]["parameter_list"]
            assert len(values) > 100, device
    finally:
        for agent in agents:
            agent.kill()


def test_a_vega_gateway_speaks_its_makers_language(open_acs: Acs, tmp_path: Path) -> None:
    """Its ten `cwmp.` settings stand beside the parameters in `cwmp show config`, and `cpe set cwmp...` changes what the ACS reads."""
    agent = Agent(tmp_path / "vega", open_acs.cwmp_url, "VEGA01", "--profile", "vega-gateway").start()
    try:
        device = known(open_acs, "VEGA01")
        state = ("--state-dir", str(agent.state))
        for program in ((sys.executable, "-m", "homeport", "cpe", "show", "config"), _cwmp("show", "config")):
            shown = subprocess.run([*program, *state], capture_output=True, text=True, timeout=30, check=True).stdout
            for name in (
                *("cwmp.use_dhcp", "cwmp.acs_url", "cwmp.acs_username", "cwmp.acs_password"),
                *("cwmp.periodicinformenable", "cwmp.periodicinforminterval", "cwmp.con_req_url"),
                *("cwmp.con_req_username", "cwmp.con_req_password", "cwmp.manage_upgrade"),
            ):
                assert name in shown, shown
        command = (sys.executable, "-m", "homeport", "cpe", "set", "cwmp.periodicinforminterval=321", *state)
        subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        name = "Device.ManagementServer.PeriodicInformInterval"
        task = open_acs.task(device, "GetParameterValues", {"parameter_names": [name]}, connection_request=True)
        assert finished(open_acs, [task]) == ["done"]
        assert "321" in json.dumps(open_acs.rest("GET", f"tasks/{task}")["result"])
    finally:
        agent.kill()


def _cwmp(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "from homeport.cli.main import run_cwmp; run_cwmp()", *arguments)
