"""The engines a site can run fragments on, one module each; none knows another."""
