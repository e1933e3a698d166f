"""One attempt of one task, and many of them in flight."""
