"""Parts of the agent that work beside its session loop: other ways to reach it, lightweight notifications, transfers.

`part.py` says what a part is, `choose.py` which of them a device has.
"""
