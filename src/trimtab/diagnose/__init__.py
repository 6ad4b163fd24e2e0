"""What a run's records mean: symptoms, causes, remedies. No torch here: it works on a copy of the records."""
