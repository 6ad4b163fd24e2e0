"""The training step on fake tensors: memory by term, arithmetic and time, without weights or a GPU."""
