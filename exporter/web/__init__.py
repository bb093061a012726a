"""What is to be had over HTTP: metrics, health, readiness and a landing page."""
