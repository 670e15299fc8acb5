"""Solvers of the search for nearest points, one file each."""
