"""What a run is configured by: typed fields, the sources of their values, and which of these wins."""
