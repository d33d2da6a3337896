"""For people who would rather look than read: what models make of one image."""
