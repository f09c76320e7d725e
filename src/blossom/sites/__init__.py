"""A site: its configuration and catalogue, its task runner, its audit log."""
