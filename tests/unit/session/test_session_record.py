"""Messages as plain values: every kind survives, and nothing else than a message comes back."""

import pytest

from homeport.codec import messages
from homeport.codec.messages import (
    ChangeDUState,
    FaultMessage,
    InstallOpStruct,
    SetParameterValuesFault,
    UninstallOpStruct,
    VendorMessage,
)
from homeport.session.record import freeze, thaw


@pytest.mark.parametrize(
    "message",
    [
        None,
        ChangeDUState((InstallOpStruct("http://f/"), UninstallOpStruct("u")), "k"),
        VendorMessage("X_A", "urn:x", "<X_A/>"),
        FaultMessage(9003, "x", (SetParameterValuesFault("A.B", 9005),), "Client"),
    ],
)
def test_a_message_comes_back_from_plain_values(message):
    """Also lists of different structs."""
    assert thaw(freeze(message), messages) == message


@pytest.mark.parametrize("name", ["Struct", "UNKNOWN_TIME", "os", "__builtins__"])
def test_only_message_classes_come_back(name):
    """A record names a class of the messages module, or it is refused."""
    with pytest.raises((KeyError, TypeError)):
        thaw({"_": name, "x": 1}, messages)
