"""From records to what people and CI read."""
