"""What is evaluated: how one configuration becomes a loss."""
