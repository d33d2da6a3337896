"""Readers: raw files as records of one form, each with its image to be read later."""
