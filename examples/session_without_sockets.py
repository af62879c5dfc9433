"""Two ends of one session, without a socket: what one gives out is handed to the other.

    python examples/session_without_sockets.py

This is how the protocol core is used by the agent, by the ACS and by the tests: bytes in, events out, time is an argument.
"""

import re

from homeport import Role, Session
from homeport.codec.messages import (
    DeviceIdStruct,
    EventStruct,
    GetParameterValues,
    GetParameterValuesResponse,
    Inform,
    InformResponse,
    Message,
    ParameterValueStruct,
)

cpe, acs = Session(Role.CPE), Session(Role.ACS)


def show(arrow: str, body: bytes) -> bytes:
    """Print the element that a body carries, and pass the body on."""
    element = re.search(rb"<cwmp:(\w+)", body.partition(b"Body>")[2])
    print(f"{arrow}  {element[1].decode() if element else '(empty)':<28} {len(body):>5} bytes")
    return body


def cpe_says(message: Message | None) -> None:
    """The device sends, the ACS is told."""
    for event in acs.receive(show("CPE ──▶ ACS", cpe.send(message, now=0.0)), now=0.0):
        print(f"             the ACS sees: {type(event).__name__}")


def acs_says(message: Message | None) -> None:
    """The ACS answers, the device is told."""
    for event in cpe.receive(show("CPE ◀── ACS", acs.send(message, now=0.0)), now=0.0):
        print(f"             the CPE sees: {type(event).__name__}")


cpe_says(
    Inform(
        device_id=DeviceIdStruct(manufacturer="Example", oui="00256D", product_class="box", serial_number="1"),
        event=(EventStruct(event_code="1 BOOT", command_key=""),),
        max_envelopes=1,
        current_time="2026-01-01T00:00:00Z",
        retry_count=0,
        parameter_list=(ParameterValueStruct(name="Device.DeviceInfo.SoftwareVersion", value="1.0", type="string"),),
    )
)
acs_says(InformResponse())
cpe_says(None)  # nothing more from the device: the ACS's turn
acs_says(GetParameterValues(parameter_names=("Device.DeviceInfo.UpTime",)))
cpe_says(
    GetParameterValuesResponse(
        parameter_list=(ParameterValueStruct(name="Device.DeviceInfo.UpTime", value="42", type="unsignedInt"),)
    )
)
acs_says(None)  # nothing more from the ACS: the session ends
