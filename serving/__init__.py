"""The inference package that is shipped with every logged model; it imports nothing else of this project."""
