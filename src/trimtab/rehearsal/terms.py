"""What memory is for: the terms of a peak, in the words that plans print."""

BASE = "base weights"
CONSTANTS = "4-bit constants"
TRAINED = "trained weights"
COPIES = "trained weights in half precision"
GRADIENTS = "gradients"
OPTIMIZER = "optimizer state"
LOGITS = "logits"
ACTIVATIONS = "activations"
BUCKETS = "gradient buckets"
GATHERED = "gathered layers"

GROWING = frozenset({LOGITS, ACTIVATIONS})
"""What grows with the micro batch."""

PERMANENT = frozenset({BASE, CONSTANTS, TRAINED, COPIES, GRADIENTS, OPTIMIZER})
"""What has the same size whatever the micro batch."""
