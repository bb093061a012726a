"""Where records go: an OpenTelemetry receiver, the console, a file."""
