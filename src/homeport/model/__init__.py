"""The data-model engine: what parameters a device has, what they may be, and how they change. Pure: no clock, socket or thread."""
