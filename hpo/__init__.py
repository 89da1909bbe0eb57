"""The search engine: spaces, trials, samplers, schedulers, the study, the loop and the workers."""
