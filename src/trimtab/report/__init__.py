"""What is told to a person. No torch here."""
