"""Telling receivers what has happened."""
