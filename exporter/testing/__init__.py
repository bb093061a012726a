"""The public test kit: conformance suites, a manual clock, scripted sources. Needs pytest."""
