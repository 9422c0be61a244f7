"""Tests of the service; the parts under test are real."""
