"""How records reach the tracking store: an outbox with a journal, and its writers."""
