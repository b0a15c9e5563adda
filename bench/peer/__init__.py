"""This desk and a peer on one tape, side by side."""
