"""Views as one HTML file."""
