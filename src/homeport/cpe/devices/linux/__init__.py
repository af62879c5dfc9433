"""The machine that the agent runs on, where that is Linux: netlink, /proc and /sys give the parameters a life, writes reach the kernel."""
