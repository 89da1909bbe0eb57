"""What past studies are worth to a new one."""
