"""Faults at real points in real processes, and what must hold whatever happened."""
