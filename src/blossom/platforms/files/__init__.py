"""Tables that no engine holds: Delta, Iceberg, whole files, and files at URLs, read as Arrow for any engine at the site."""
