"""One message of every kind, with every field in use, and the CWMP version that first has it: what golden files and round trips share."""

from homeport.codec import messages as m
from homeport.codec.rpc_table import CLASSES, entry_of
from homeport.terms import CwmpVersion

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
V = m.ParameterValueStruct
START, END = "2026-03-01T10:00:00Z", "2026-03-01T10:02:30Z"

_RESULT = (
    UUID,
    "Device.SoftwareModules.DeploymentUnit.3.",
    "1.4",
    "Installed",
    True,
    "Device.SoftwareModules.ExecutionUnit.7.",
    START,
    END,
)

SAMPLES: tuple[m.Message, ...] = (
    m.GetRPCMethods(),
    m.GetRPCMethodsResponse(("GetRPCMethods", "Inform", "TransferComplete")),
    m.SetParameterValues(
        (
            V("Device.ManagementServer.PeriodicInformInterval", "900", "unsignedInt"),
            V("Device.WiFi.SSID.1.SSID", "Caf\u00e9 <&> upstairs", "string"),
            V("Device.Bridging.Bridge.1.Port.2.Enable", "true", "boolean"),
        ),
        "key-17",
    ),
    m.SetParameterValuesResponse(1),
    m.GetParameterValues(("Device.DeviceInfo.", "Device.ManagementServer.URL")),
    m.GetParameterValuesResponse(
        (
            V("Device.DeviceInfo.SoftwareVersion", "2.1.0", "string"),
            V("Device.DeviceInfo.UpTime", "86400", "unsignedInt"),
            V("Device.Optical.Interface.1.OpticalSignalLevel", "-12400", "int"),
            V("Device.IP.Interface.1.Stats.BytesSent", "18446744073709551615", "unsignedLong"),
            V("Device.Time.CurrentLocalTime", "2026-03-01T11:00:00+01:00", "dateTime"),
            V("Device.X_EXAMPLE_Blob", "aG9tZXBvcnQ=", "base64Binary"),
            V("Device.X_EXAMPLE_Hex", "00ff10", "hexBinary"),
            V("Device.X_EXAMPLE_Long", "-5000000000", "long"),
            V("Device.X_EXAMPLE_Ratio", "0.125", "decimal"),
            V("Device.ManagementServer.Password", "", "string"),
        )
    ),
    m.GetParameterNames("Device.Bridging.", True),
    m.GetParameterNamesResponse(
        (
            m.ParameterInfoStruct("Device.Bridging.Bridge.", True),
            m.ParameterInfoStruct("Device.Bridging.BridgeNumberOfEntries", False),
        )
    ),
    m.SetParameterAttributes(
        (
            m.SetParameterAttributesStruct("Device.DeviceInfo.SoftwareVersion", True, 2, True, ("Subscriber",)),
            m.SetParameterAttributesStruct("Device.Ethernet.", True, 0, False, ()),
        )
    ),
    m.SetParameterAttributesResponse(),
    m.GetParameterAttributes(("Device.DeviceInfo.SoftwareVersion",)),
    m.GetParameterAttributesResponse(
        (m.ParameterAttributeStruct("Device.DeviceInfo.SoftwareVersion", 2, ("Subscriber",)),)
    ),
    m.AddObject("Device.Bridging.Bridge.", "key-18"),
    m.AddObjectResponse(4, 0),
    m.DeleteObject("Device.Bridging.Bridge.4.", "key-19"),
    m.DeleteObjectResponse(1),
    m.Reboot("spring-2026"),
    m.RebootResponse(),
    m.FactoryReset(),
    m.FactoryResetResponse(),
    m.Download(
        "fw-2.2",
        "1 Firmware Upgrade Image",
        "https://files.example.net/fw-2.2.bin?a=1&b=2",
        "user",
        "pass",
        8_388_608,
        "fw-2.2.bin",
        5,
        "https://files.example.net/ok",
        "https://files.example.net/failed",
    ),
    m.DownloadResponse(0, START, END),
    m.Upload("log-3", "2 Vendor Log File", "https://files.example.net/up/log", "user", "pass", 10),
    m.UploadResponse(1),
    m.ScheduleDownload(
        "fw-night",
        "1 Firmware Upgrade Image",
        "https://files.example.net/fw-2.2.bin",
        "user",
        "pass",
        8_388_608,
        "fw-2.2.bin",
        (
            m.TimeWindowStruct(3600, 7200, "1 At Any Time", "An update is due tonight.", 2),
            m.TimeWindowStruct(90_000, 93_600, "2 Immediately", "", -1),
        ),
    ),
    m.ScheduleDownloadResponse(),
    m.CancelTransfer("fw-night"),
    m.CancelTransferResponse(),
    m.GetQueuedTransfers(),
    m.GetQueuedTransfersResponse((m.QueuedTransferStruct("fw-night", 1),)),
    m.GetAllQueuedTransfers(),
    m.GetAllQueuedTransfersResponse(
        (m.AllQueuedTransferStruct("fw-2.2", 2, True, "1 Firmware Upgrade Image", 8_388_608, "fw-2.2.bin"),)
    ),
    m.ScheduleInform(60, "later"),
    m.ScheduleInformResponse(),
    m.ChangeDUState(
        (
            m.InstallOpStruct(
                "https://apps.example.net/meter.ipk", UUID, "user", "pass", "Device.SoftwareModules.ExecEnv.1."
            ),
            m.UpdateOpStruct(UUID, "1.4", "https://apps.example.net/meter-1.5.ipk", "user", "pass"),
            m.UninstallOpStruct(UUID, "1.4", "Device.SoftwareModules.ExecEnv.1."),
            m.InstallOpStruct("https://apps.example.net/lamp.ipk"),
        ),
        "apps-1",
    ),
    m.ChangeDUStateResponse(),
    m.SetVouchers(("dm91Y2hlcg==", "c2Vjb25k")),
    m.SetVouchersResponse(),
    m.GetOptions("Voice"),
    m.GetOptionsResponse(
        (
            m.OptionStruct("Voice", 1001, 3, 1, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 1),
            m.OptionStruct("Video", 1002, 0, 2, "2026-01-01T00:00:00Z", None, 0),
        )
    ),
    m.Inform(
        m.DeviceIdStruct("Example Works", "0A1B2C", "797xx", "SN-000042"),
        (m.EventStruct("0 BOOTSTRAP"), m.EventStruct("1 BOOT"), m.EventStruct("M Reboot", "spring-2026")),
        "2026-03-01T11:00:00+01:00",
        2,
        (
            V("Device.RootDataModelVersion", "2.19"),
            V("Device.DeviceInfo.SoftwareVersion", "2.1.0"),
            V("Device.ManagementServer.ConnectionRequestURL", "http://192.0.2.7:7547/cr"),
            V("Device.ManagementServer.ParameterKey", ""),
        ),
    ),
    m.InformResponse(),
    m.TransferComplete("fw-2.2", m.FaultStruct(9010, "The file server closed the connection"), START, END),
    m.TransferCompleteResponse(),
    m.AutonomousTransferComplete(
        "http://announce.example.net/a",
        "http://files.example.net/b",
        True,
        "1 Firmware Upgrade Image",
        1024,
        "b.bin",
        m.FaultStruct(0, ""),
        START,
        END,
    ),
    m.AutonomousTransferCompleteResponse(),
    m.DUStateChangeComplete((m.OpResultStruct(*_RESULT, m.FaultStruct(0, "")),), "apps-1"),
    m.DUStateChangeCompleteResponse(),
    m.AutonomousDUStateChangeComplete((m.AutonOpResultStruct(*_RESULT, m.FaultStruct(9012, "refused"), "Update"),)),
    m.AutonomousDUStateChangeCompleteResponse(),
    m.RequestDownload("1 Firmware Upgrade Image", (m.ArgStruct("Version", "2.2"),)),
    m.RequestDownloadResponse(),
    m.Kicked("reload", "http://portal.example.net/", "x=1", "http://portal.example.net/next"),
    m.KickedResponse("http://portal.example.net/next"),
    m.FaultMessage(9005, "Invalid parameter name", (), "Client"),
    m.FaultMessage(
        9003,
        "Invalid arguments",
        (
            m.SetParameterValuesFault("Device.WiFi.SSID.1.SSID", 9007, "Longer than 32 bytes"),
            m.SetParameterValuesFault("Device.DeviceInfo.UpTime", 9008, ""),
        ),
        "Client",
    ),
    m.FaultMessage(8005, "Retry request", (), "Server"),
)


def since(message: m.Message) -> CwmpVersion:
    """The first CWMP version whose schema has the message; faults are in all."""
    row = entry_of(message)
    return CwmpVersion.V1_0 if row is None else row.since


def sample_name(message: m.Message) -> str:
    """A file name: the element, and what tells two samples of one element apart."""
    if isinstance(message, m.FaultMessage):
        return f"Fault-{message.fault_code}"
    return message.element


assert {s.element for s in SAMPLES} == {*CLASSES, "Fault"}
