"""What is decided before the first step, each number with its reason. No torch here."""
