"""The command line: `main.py` chooses the verb, one module per verb does it. Formats for a person; never touches a store or a session."""
