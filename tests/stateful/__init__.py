"""Properties of the whole service, tried with input and histories that nobody chose."""
