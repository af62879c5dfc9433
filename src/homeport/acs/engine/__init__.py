"""Decisions, pure: what an Inform means, which RPC comes next, what an answer teaches, how an unknown outcome is settled."""
