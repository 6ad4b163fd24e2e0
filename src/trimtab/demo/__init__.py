"""The embedded example: a small base model, an instruction set, and the scripts that made them."""
