"""The parts of the MLP: its settings, its data, its initial parameters and its optimiser steps."""
