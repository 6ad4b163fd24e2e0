"""What learns: base, adapter, loss, and how their weights are kept."""
