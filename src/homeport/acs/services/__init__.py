"""What can be done: one verb, one unit of work. Services ask the engine what to do, write it, then tell who listens."""
