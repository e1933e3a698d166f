"""Runs a task's own tests on what an agent left behind, so that the agent cannot have written the verdict itself."""
