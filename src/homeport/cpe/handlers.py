"""What each RPC of the ACS does to the data model and to the agent's promises: message in, message out, faults raised.

No disk, no socket, no clock here: the data model persists its own commits before it returns, `Promises` does so for commands. Which
RPCs a device answers is this module's table; GetRPCMethods is read from it, so it cannot promise more than there is.
Source: TR-069a6 A.3.1, A.3.2, A.4.1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    DeleteObject,
    DeleteObjectResponse,
    FactoryReset,
    FactoryResetResponse,
    GetParameterAttributes,
    GetParameterAttributesResponse,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    GetRPCMethods,
    GetRPCMethodsResponse,
    ParameterAttributeStruct,
    ParameterInfoStruct,
    ParameterValueStruct,
    Reboot,
    RebootResponse,
    Request,
    Response,
    ScheduleInform,
    ScheduleInformResponse,
    SetParameterAttributes,
    SetParameterAttributesResponse,
    SetParameterValues,
    SetParameterValuesResponse,
    VendorMessage,
)
from homeport.cpe.journal import LOG
from homeport.errors import Fault, StoreError
from homeport.model.tree import DataModel
from homeport.terms import FaultCode, Writer

MOST_VALUES: Final = 5_000
"""Parameters, beyond the size of the whole tree, that one list of names may ask for. Naming the root 10,000 times fits into a message of
1 MB and would otherwise ask for gigabytes."""

MOST_TEXT: Final = 2 * 1024 * 1024
"""Characters in one answer to a list of names, for the same reason: 1,000 parameters have some 100,000."""


class Promises(Protocol):
    """What the agent promises to do after the session; on disk when a method returns. Each raises StoreError where it is not."""

    def accept_reboot(self, command_key: str) -> None: ...

    def accept_factory_reset(self) -> None: ...

    def accept_schedule_inform(self, delay: int, command_key: str) -> None: ...


class Handlers:
    """The answers of one device."""

    def __init__(
        self,
        model: DataModel,
        promises: Promises,
        more: Mapping[type[Request], Callable[[Any], Response]] | None = None,
    ) -> None:
        """more: answers of other parts of the agent, by request class."""
        self._model = model
        self._promises = promises
        self._table: Final[dict[type[Request], Callable[[Any], Response]]] = {
            GetRPCMethods: self._get_rpc_methods,
            SetParameterValues: self._set_parameter_values,
            GetParameterValues: self._get_parameter_values,
            GetParameterNames: self._get_parameter_names,
            SetParameterAttributes: self._set_parameter_attributes,
            GetParameterAttributes: self._get_parameter_attributes,
            AddObject: self._add_object,
            DeleteObject: self._delete_object,
            Reboot: self._reboot,
            FactoryReset: self._factory_reset,
            ScheduleInform: self._schedule_inform,
            **(more or {}),
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """Element names of the RPCs that are answered, in the order of the table."""
        return tuple(cls.element for cls in self._table)

    def handle(self, request: Request | VendorMessage) -> Response:
        """The answer to a request. Raises Fault with the code that the standard has for it; nothing is changed then."""
        handler = self._table.get(type(request)) if isinstance(request, Request) else None
        if handler is None:
            name = request.method if isinstance(request, VendorMessage) else request.element
            raise Fault(FaultCode.METHOD_NOT_SUPPORTED, f"{name} is not supported by this device")
        try:
            return handler(request)
        except StoreError as e:
            # Disk before reply: what could not be stored was not done.
            raise Fault(FaultCode.INTERNAL_ERROR, f"the device cannot store anything now: {e}"[:256]) from e

    def _get_rpc_methods(self, request: GetRPCMethods) -> GetRPCMethodsResponse:
        return GetRPCMethodsResponse(method_list=self.methods)

    def _get_parameter_values(self, request: GetParameterValues) -> GetParameterValuesResponse:
        self._bound(request.parameter_names)
        values = self._model.get_many(request.parameter_names)
        if len(request.parameter_names) > 1 and sum(len(v.value) for v in values) > MOST_TEXT:
            raise _too_much()
        return GetParameterValuesResponse(
            parameter_list=tuple(ParameterValueStruct(name=v.name, value=v.value, type=v.type) for v in values)
        )

    def _bound(self, names: Sequence[str]) -> None:
        """Raises Fault 9004 where partial paths and wildcards together ask for far more than the whole tree; one alone never does."""
        several = [name for name in names if not name or name.endswith(".") or "*" in name]
        if len(several) < 2:
            return
        left = self._model.count("") + MOST_VALUES
        for name in several:
            left -= self._model.count(name)
            if left < 0:
                raise _too_much()

    def _get_parameter_names(self, request: GetParameterNames) -> GetParameterNamesResponse:
        names = self._model.names(request.parameter_path, request.next_level)
        return GetParameterNamesResponse(
            parameter_list=tuple(ParameterInfoStruct(name=n.name, writable=n.writable) for n in names)
        )

    def _set_parameter_values(self, request: SetParameterValues) -> SetParameterValuesResponse:
        transaction = self._model.transaction(Writer.ACS)
        for item in request.parameter_list:
            transaction.set(item.name, item.value, item.type or None)
        transaction.parameter_key(request.parameter_key)
        return SetParameterValuesResponse(status=int(transaction.commit()))

    def _get_parameter_attributes(self, request: GetParameterAttributes) -> GetParameterAttributesResponse:
        self._bound(request.parameter_names)
        rows = self._model.attributes(request.parameter_names)
        return GetParameterAttributesResponse(
            parameter_list=tuple(
                ParameterAttributeStruct(
                    name=a.name, notification=int(a.notification), access_list=tuple(a.access_list)
                )
                for a in rows
            )
        )

    def _set_parameter_attributes(self, request: SetParameterAttributes) -> SetParameterAttributesResponse:
        transaction = self._model.transaction(Writer.ACS)
        for item in request.parameter_list:
            transaction.set_attributes(
                item.name,
                notification=item.notification if item.notification_change else None,
                access_list=item.access_list if item.access_list_change else None,
            )
        transaction.commit()
        try:
            self._model.poll()  # changes count from now on: what is watched from here must be known as it is now
        except (Fault, StoreError) as e:
            LOG.warning("the values of newly watched parameters are not known yet: %s", e)
        return SetParameterAttributesResponse()

    def _add_object(self, request: AddObject) -> AddObjectResponse:
        transaction = self._model.transaction(Writer.ACS)
        number = transaction.add_object(request.object_name)
        transaction.parameter_key(request.parameter_key)
        return AddObjectResponse(instance_number=number, status=int(transaction.commit()))

    def _delete_object(self, request: DeleteObject) -> DeleteObjectResponse:
        transaction = self._model.transaction(Writer.ACS)
        transaction.delete_object(request.object_name)
        transaction.parameter_key(request.parameter_key)
        return DeleteObjectResponse(status=int(transaction.commit()))

    def _reboot(self, request: Reboot) -> RebootResponse:
        self._promises.accept_reboot(request.command_key)
        return RebootResponse()

    def _factory_reset(self, request: FactoryReset) -> FactoryResetResponse:
        self._promises.accept_factory_reset()
        return FactoryResetResponse()

    def _schedule_inform(self, request: ScheduleInform) -> ScheduleInformResponse:
        if request.delay_seconds < 1:
            raise Fault(FaultCode.INVALID_ARGUMENTS, "DelaySeconds must be at least 1")
        self._promises.accept_schedule_inform(request.delay_seconds, request.command_key)
        return ScheduleInformResponse()


def _too_much() -> Fault:
    return Fault(FaultCode.RESOURCES_EXCEEDED, "the names together ask for more than one answer can hold; ask in parts")
