"""The tokens a model really sampled: their trace, and models that are asked by token ids."""
