"""Many recordings as one."""
