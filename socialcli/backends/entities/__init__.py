"""Entity extractors (`roles.EntityExtractor`)."""
