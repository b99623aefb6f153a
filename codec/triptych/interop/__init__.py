"""Triptych inside other libraries. Nothing of the codec imports anything from here."""
