"""The compiled models that come with Homeport: names, types, access, facets and versions; no prose. README.md says how they are made."""

from homeport.model.schema import list_schemas, load_schema

__all__ = ["list_schemas", "load_schema"]
