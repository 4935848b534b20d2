"""What a machine can run, and the commands that run it."""
