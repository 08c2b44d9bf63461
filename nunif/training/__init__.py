"""The generic trainer: it owns time and files; a task (`task.py`) owns what is learned."""
