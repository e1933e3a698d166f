"""What a model may call, and what a reward function may."""
