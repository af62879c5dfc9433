"""The REST API: records as JSON, wishes to services. Nothing is decided here."""
