"""Measurements, and the records of them that the site shows."""
