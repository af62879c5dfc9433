"""The device profiles that come with Homeport: which part of a model a device has, its instances and its factory values."""

from homeport.model.profile import ProfileDef, list_profiles, load_profile, load_profile_file

__all__ = ["ProfileDef", "list_profiles", "load_profile", "load_profile_file"]
