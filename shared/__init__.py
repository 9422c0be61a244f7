"""What both processes use: settings, data, queue, channel, workflow; it knows neither."""
