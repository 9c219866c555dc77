"""Audio: how it comes in, where it is kept, and how it goes out."""
