"""The parts of the torch MLP: its parameters and schedules, its data, how it starts and how it takes a step."""
