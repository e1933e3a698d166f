"""Commands in containers, with folders that no other process of the container can reach."""
