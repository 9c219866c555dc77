"""Running jobs: claims, leases, workers, and who waits for them."""
