"""What keeps the Helm chart true: its schema, its README and `make chart`."""
