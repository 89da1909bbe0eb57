"""Where jobs run: worker processes, their supervisor, and the cores that they share."""
