"""What happens: the loop, its steps, evaluations and checkpoints."""
