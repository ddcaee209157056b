"""ViLU and LVU as published."""
