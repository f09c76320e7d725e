"""What may leave a site: the owner's rules, the check on a typed plan, the guards put into it."""
