"""Benchmarks. `python -m bench` runs all, `python -m bench batch` one; results go to bench/results/."""
