"""What all scorers share."""
