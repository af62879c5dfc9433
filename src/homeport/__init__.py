"""TR-069 (CWMP) for both ends of the line: agent, ACS and simulator. These are the public names; each is imported when it is first used.

A device must not load an ACS for having said `import homeport`, which is why the names are a table and not imports.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from homeport._version import __version__ as __version__
    from homeport.acs.app import AcsApp as AcsApp
    from homeport.acs.config import AcsSettings as AcsSettings
    from homeport.codec.envelope import Envelope as Envelope
    from homeport.codec.envelope import decode as decode
    from homeport.codec.envelope import encode as encode
    from homeport.cpe.agent import Agent as Agent
    from homeport.cpe.config import CpeSettings as CpeSettings
    from homeport.cpe.discovery import decode_option43 as decode_option43
    from homeport.cpe.discovery import encode_option43 as encode_option43
    from homeport.errors import ConfigError as ConfigError
    from homeport.errors import Fault as Fault
    from homeport.errors import HomeportError as HomeportError
    from homeport.errors import ProtocolError as ProtocolError
    from homeport.errors import StoreError as StoreError
    from homeport.errors import TransportError as TransportError
    from homeport.model.profile import load_profile as load_profile
    from homeport.model.schemas import load_schema as load_schema
    from homeport.model.tree import DataModel as DataModel
    from homeport.session.session import Session as Session
    from homeport.terms import CwmpVersion as CwmpVersion
    from homeport.terms import EventCode as EventCode
    from homeport.terms import FaultCode as FaultCode
    from homeport.terms import Role as Role
    from homeport.terms import RpcName as RpcName
    from homeport.transport.acs_client import HttpChannel as HttpChannel
    from homeport.transport.driver import run_cpe_session as run_cpe_session

_HOMES = {
    "__version__": "_version",
    # the programs
    "Agent": "cpe.agent",
    "CpeSettings": "cpe.config",
    "AcsApp": "acs.app",
    "AcsSettings": "acs.config",
    # the protocol
    "Session": "session.session",
    "Envelope": "codec.envelope",
    "decode": "codec.envelope",
    "encode": "codec.envelope",
    "HttpChannel": "transport.acs_client",
    "run_cpe_session": "transport.driver",
    "decode_option43": "cpe.discovery",
    "encode_option43": "cpe.discovery",
    # the data model
    "DataModel": "model.tree",
    "load_profile": "model.profile",
    "load_schema": "model.schemas",
    # words and errors
    "CwmpVersion": "terms",
    "EventCode": "terms",
    "FaultCode": "terms",
    "Role": "terms",
    "RpcName": "terms",
    "ConfigError": "errors",
    "Fault": "errors",
    "HomeportError": "errors",
    "ProtocolError": "errors",
    "StoreError": "errors",
    "TransportError": "errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """The public name, imported from its room."""
    if name not in _HOMES:
        raise AttributeError(f"module 'homeport' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"homeport.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
