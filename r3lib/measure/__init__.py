"""What is measured beyond the loop."""
