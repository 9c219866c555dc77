"""Prometheus: what each process counts, what is asked of rows, who may read it, and how it is documented."""
