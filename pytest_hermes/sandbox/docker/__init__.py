"""Containers of a Docker engine, or of one that speaks its protocol."""
