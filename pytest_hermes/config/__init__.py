"""What a run is configured by: typed fields, the places their values come from, and which of these wins."""
