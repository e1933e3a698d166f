"""pytest-hermes: measures LLM agents on real benchmarks."""
