"""Running tests inside the lab and reporting them out here, one by one, as if they ran here."""
