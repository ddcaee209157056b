"""Pure functions of uncertainties and failures."""
