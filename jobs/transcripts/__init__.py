"""What is asked of the provider, what it answers, and the forms in which that is given out. Pure."""
