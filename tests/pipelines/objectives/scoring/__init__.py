"""Goals and costs."""
