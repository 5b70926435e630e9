"""The report of runs and evaluations: one HTML file that needs nothing else."""
