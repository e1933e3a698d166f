"""What the tool-call formats share; nothing here knows one format by name."""
