"""Where records live. `interface` reads as the specification; every store passes the same contract suite."""
