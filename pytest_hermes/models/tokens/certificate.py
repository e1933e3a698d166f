"""The earlier name of `trace_validation`, for one version."""

from .trace_validation import problems as problems
