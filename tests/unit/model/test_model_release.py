"""A process that knows what it needs of a model lets go of the rest."""

from homeport.model.profile import load_profile, parse_profile
from homeport.model.schema import Schema, _load, _packaged_table


def test_what_nobody_asked_for_is_forgotten_and_the_rest_stays_whole() -> None:
    """A device has a tenth of its model; the objects that it has keep all of their parameters."""
    schema = Schema.from_tables([_packaged_table("Device:2.19")])
    before = len(schema)
    info = schema.object("Device.DeviceInfo.")
    assert info is not None
    schema.object("Device.")
    schema.release()
    assert before > 800
    assert schema.root == "Device."
    assert set(schema.paths()) == {"Device.", "Device.DeviceInfo."}
    assert schema.object("Device.WiFi.") is None
    uptime = schema.parameter("Device.DeviceInfo.UpTime")
    assert uptime is not None and uptime.type == "unsignedInt"
    assert schema.name == "Device:2.19"


def test_a_model_that_was_let_go_of_can_be_loaded_again() -> None:
    """Another device of the same process, or the same one after a restart in place."""
    first = Schema.from_tables([_packaged_table("Device:2.9")])
    first.object("Device.")
    first.release()
    again = Schema.from_tables([_packaged_table("Device:2.9")])
    assert again.object("Device.WiFi.") is not None


def test_the_linux_profile_has_only_what_its_model_has() -> None:
    """Each of its parameters exists in TR-181 2.19; loading the profile checks it."""
    profile = load_profile("linux")
    assert profile.schema.name == "Device:2.19"
    assert len(profile.parameters) > 300
    assert profile.writable("Device.IP.Interface.{i}.IPv4Address.{i}.")


def test_an_object_of_a_profile_file_does_not_unpack_the_whole_model() -> None:
    """Definitions are unpacked on demand; a profile that names one object pays for that one."""
    _load.cache_clear()
    try:
        profile = parse_profile('name = "x"\nmodel = "Device:2.19"\nparameters = ["Device.Hosts."]\n', origin="x")
        assert profile.has_object("Device.Hosts.Host.{i}.")
        assert len(profile.schema._objects) < 40
    finally:
        _load.cache_clear()
