"""The calibration of the winner's probabilities, and the threshold of its labels."""
