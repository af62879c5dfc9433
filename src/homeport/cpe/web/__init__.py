"""The agent's web page; `part` is what the agent knows of it, the rest is imported when somebody asks for a page."""
